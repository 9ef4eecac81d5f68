"""Lines of tegrastats, written from the form that NVIDIA's Jetson Linux developer guide documents.

None was recorded on a Jetson: there was none.
"""

from __future__ import annotations

import gc
import io
import os
import threading
import weakref

import pytest

from tests.kit.awaited import PATIENCE_S, until
from workbench.backends import tegrastats
from workbench.backends.tegrastats import Board, TegrastatsReading, _follow, parse_line, spans

ORIN = (
    "05-14-2025 10:21:03 RAM 3145/7620MB (lfb 4x4MB) SWAP 12/3810MB (cached 1MB) CPU [5%@1510,off,2%@729,"
    "1%@729] EMC_FREQ 2%@2133 GR3D_FREQ 41%@[624] NVDEC off VIC_FREQ 0%@115 APE 174 cpu@49.25C soc2@48.1C gpu@47.9C "
    "tj@49.2C cv0@-256C VDD_IN 7566mW/6020mW VDD_CPU_GPU_CV 3015mW/1911mW VDD_SOC 1507mW/1467mW"
)
XAVIER = (
    "RAM 2412/15692MB (lfb 2915x4MB) CPU [3%@1190,2%@1190] EMC_FREQ 0% GR3D_FREQ 0% PLL@33C CPU@34.5C PMIC@100C "
    "GPU@33C AO@34C thermal@33.75C "
    "GPU 0/0 CPU 311/320 SOC 935/930 CV 0/0 VDDRQ 155/150 SYS5V 1414/1400"
)
NANO = (
    "RAM 1800/3956MB (lfb 2x4MB) IRAM 0/252kB(lfb 252kB) SWAP 0/1978MB (cached 0MB) CPU [12%@102,off] "
    "GR3D_FREQ 99%@921 A0@45C POM_5V_IN 2532/2698 POM_5V_GPU 120/118 POM_5V_CPU 482/525"
)


@pytest.mark.parametrize(
    ("line", "reading"),
    [
        (
            ORIN,
            TegrastatsReading(
                3145,
                7620,
                {"VDD_IN": 7566, "VDD_CPU_GPU_CV": 3015, "VDD_SOC": 1507},
                {"cpu": 49.25, "soc2": 48.1, "gpu": 47.9, "tj": 49.2},
                41,
                624,
            ),
        ),
        (
            XAVIER,
            TegrastatsReading(
                2412,
                15692,
                {"GPU": 0, "CPU": 311, "SOC": 935, "CV": 0, "VDDRQ": 155, "SYS5V": 1414},
                {"PLL": 33.0, "CPU": 34.5, "PMIC": 100.0, "GPU": 33.0, "AO": 34.0, "thermal": 33.75},
                0,
            ),
        ),
        (
            NANO,
            TegrastatsReading(
                1800, 3956, {"POM_5V_IN": 2532, "POM_5V_GPU": 120, "POM_5V_CPU": 482}, {"A0": 45.0}, 99, 921
            ),
        ),
        ("RAM 1/2MB", TegrastatsReading(1, 2)),
        # A sensor of what is switched off reads far below what any that works can.
        ("RAM 1/2MB a@-100C b@-99.5C", TegrastatsReading(1, 2, {}, {"b": -99.5})),
        ("", None),
        ("tegrastats: command failed", None),
    ],
)
def test_lines_of_each_generation(line, reading):
    assert parse_line(line) == reading


def test_what_many_lines_say_is_told_from_lowest_to_highest():
    lines = [
        TegrastatsReading(3100, 7000, {"a": 4}, {"cpu": 40.5}),
        TegrastatsReading(3000, 7500, {"b": 7, "a": 9}, {}, 99),
        TegrastatsReading(3050, 7600, {"a": 5}, {"cpu": 30.0, "gpu": 50.0}, 41),
    ]
    told = {
        "ram_mb": [3000, 3100],
        "ram_total_mb": 7600,
        "power_mw": {"a": [4, 9], "b": [7, 7]},
        "temperature_c": {"cpu": [30.0, 40.5], "gpu": [50.0, 50.0]},
        "gpu_percent": [41, 99],
        "readings": 3,
        "from": "tegrastats, every 100 ms: the whole board, processor and GPU together",
    }
    assert spans(lines) == told
    assert "gpu_percent" not in spans(lines[:1])


def test_lines_are_followed_while_somebody_reads_them_and_what_is_none_changes_nothing():
    taken = []

    class Reader:
        def _take(self, reading):
            taken.append(reading.ram_mb)

    reader = Reader()
    _follow(weakref.ref(reader), io.StringIO("RAM 1/2MB\nnothing\nRAM 3/4MB\n\nRAM 5/6MB\n"))
    assert taken == [1, 3, 5]
    left = io.StringIO("RAM 7/8MB\nRAM 9/9MB\n")
    gone = weakref.ref(reader)
    del reader
    gc.collect()
    _follow(gone, left)
    assert (taken, left.read()) == ([1, 3, 5], "RAM 9/9MB\n")  # nobody reads, so nothing is read to the end


def test_the_program_is_asked_for_a_line_every_tenth_of_a_second(tmp_path):
    path = tmp_path / "tegrastats"
    path.write_text("#!/bin/sh\necho RAM $2/7MB\n")
    path.chmod(0o755)
    board = Board(str(path))
    assert board.latest(30.0) == TegrastatsReading(100, 7)
    board.close()


def test_a_program_that_does_not_start_is_no_board(tmp_path, monkeypatch):
    path = tmp_path / "tegrastats"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    tegrastats.board.cache_clear()
    try:
        assert tegrastats.board() is None
    finally:
        tegrastats.board.cache_clear()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program of that name that prints a documented line an interval, as tegrastats does."""
    path = tmp_path / "tegrastats"
    path.write_text(f"#!/bin/sh\nwhile true; do echo '{ORIN}'; sleep 0.02; done\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    tegrastats.board.cache_clear()
    yield path
    tegrastats.board.cache_clear()


def test_the_last_line_is_read_while_the_program_runs_and_it_ends_with_its_reader(program):
    before = set(threading.enumerate())
    board = Board(str(program))
    started = set(threading.enumerate()) - before
    assert all(one.daemon for one in started)  # what reads its lines would keep this process alive otherwise
    assert board.latest(PATIENCE_S) == parse_line(ORIN)
    process = board._process
    assert process.poll() is None
    del board
    gc.collect()
    until(lambda: process.poll() is not None, "the program ends")


@pytest.mark.usefixtures("program")
def test_timings_on_a_board_say_its_power_and_memory():
    from workbench.backends.clocks import Clocks

    class NoGpu:
        def bus_id(self):
            from workbench.errors import BackendError

            raise BackendError("there is no GPU")

    clocks = Clocks(NoGpu())
    clocks.read()
    clocks.read()
    board = clocks.conditions()["board"]
    assert board["power_mw"]["VDD_IN"] == [7566, 7566]
    assert board["ram_total_mb"] == 7620
    assert board["readings"] == 2


def test_no_board_is_no_board(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    tegrastats.board.cache_clear()
    try:
        assert tegrastats.board() is None
    finally:
        tegrastats.board.cache_clear()


def test_a_program_that_prints_something_else_is_not_waited_for_long(tmp_path):
    path = tmp_path / "tegrastats"
    path.write_text("#!/bin/sh\necho no\n")
    path.chmod(0o755)
    assert Board(str(path)).latest(0.2) is None
