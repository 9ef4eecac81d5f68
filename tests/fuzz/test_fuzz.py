"""Some inputs of every kind, the same ones each time; `make fuzz` tries more."""

from __future__ import annotations

import pytest

from tests.fuzz.run import Fuzzer, kind_names

SECONDS = 25.0

FOUND = {
    "cache": (12000022,),
    "engine": (22000009,),
    "labels": (1000057,),
    "model_bytes": (3000211, 14000035, 14000113),
    "model_fields": (
        4000144,
        4000255,
        5000165,
        6000021,
        6000091,
        6000203,
        9000140,
        12000178,
        13000080,
        14000123,
        14000147,
        16000060,
        16000157,
        17000260,
        18000147,
        22000004,
        20000036,
        20200008,
    ),
    "model_hungry": (1000016, 6000126, 10000009, 20000090, 20000107, 22000050),
    "words": (20000031,),
    "model_weights": (10000051, 14000235, 16000154),
}
"""Kind to seeds of inputs that ended in an error of Python's, hung, or ate all memory once."""


@pytest.mark.slow
def test_inputs_of_every_kind_end_in_a_result_or_in_one_line(tmp_path):
    fuzzer = Fuzzer(tmp_path)
    fuzzer.run(SECONDS, kind_names(), first=0, turn=5)
    fuzzer.close()
    assert not fuzzer.faults, fuzzer.text()
    assert set(fuzzer.tried) <= set(kind_names())
    assert fuzzer.tried  # however busy the machine is


def test_what_was_found_once_is_found_no_more(tmp_path):
    fuzzer = Fuzzer(tmp_path)
    for name, seeds in FOUND.items():
        for seed in seeds:
            fuzzer.one(name, seed)
    fuzzer.close()
    assert not fuzzer.faults, fuzzer.text()


def test_a_fault_of_each_kind_is_found(tmp_path, monkeypatch):
    # The worker's own faults: what is raised, a crash, a hang, memory, and files elsewhere.
    monkeypatch.setattr("tests.fuzz.run.HANG_S", 1.5)
    monkeypatch.setattr("tests.fuzz.run.REST", 2)
    monkeypatch.setattr("tests.fuzz.run.MEMORY_BYTES", 450 * 2**20)
    monkeypatch.setattr("tests.fuzz.run.WORKER_INPUTS", 1)
    fuzzer = Fuzzer(tmp_path)
    for seed in range(5):
        fuzzer.one("faulty", seed)
    fuzzer.close()
    raised, crashed, hung, ate, wrote = (message for _, message in fuzzer.faults["faulty"])
    assert "ZeroDivisionError" in raised
    assert crashed == "crash: SIGABRT"
    assert hung.startswith("hang")
    assert ate.startswith("memory")
    assert wrote.startswith("files outside")
    assert fuzzer.workers == 5  # also after what it survived
