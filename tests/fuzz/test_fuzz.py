"""Some inputs of every kind, the same ones each time; `make fuzz` tries more."""

from __future__ import annotations

import pytest

from tests.fuzz.run import Fuzzer, kind_names

SECONDS = 25.0


@pytest.mark.slow
def test_inputs_of_every_kind_end_in_a_result_or_in_one_line(tmp_path):
    fuzzer = Fuzzer(tmp_path)
    fuzzer.run(SECONDS, kind_names(), first=0, turn=5)
    fuzzer.close()
    assert not fuzzer.faults, fuzzer.text()
    assert set(fuzzer.tried) <= set(kind_names())
    assert len(fuzzer.tried) >= 3  # the machine may be busy, but not that busy


def test_a_fault_of_each_kind_is_found(tmp_path, monkeypatch):
    # The worker's own faults: what is raised, a crash, a hang, memory, and files elsewhere.
    monkeypatch.setattr("tests.fuzz.run.HANG_S", 0.5)
    monkeypatch.setattr("tests.fuzz.run.MEMORY_BYTES", 600 * 2**20)
    fuzzer = Fuzzer(tmp_path)
    for seed in range(5):
        fuzzer.one("faulty", seed)
    fuzzer.close()
    raised, crashed, hung, ate, wrote = (said for _, said in fuzzer.faults["faulty"])
    assert "ZeroDivisionError" in raised
    assert crashed == "crash: SIGABRT"
    assert hung.startswith("hang")
    assert ate.startswith("memory")
    assert wrote.startswith("files outside")
