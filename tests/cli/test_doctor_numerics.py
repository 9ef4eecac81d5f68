"""`doctor --numerics` fails where ONNX Runtime computes something else than what is written."""

from __future__ import annotations

import pytest

from workbench import runtime
from workbench.cli import main
from workbench.runtime import as_written, numerics_check


@pytest.mark.parametrize("kept", [True, False])
def test_doctor_tries_onnx_runtime(monkeypatch, capsys, kept):
    if not kept:
        left = tuple(one for one in as_written.SWITCHED_OFF if one.name != "ReluQuantRewrite")
        monkeypatch.setattr(as_written, "SWITCHED_OFF", left)
    # Two of the small graphs; all of them take a while.
    few = (numerics_check.tried("Conv", kind) for kind in ("int8", "fp8"))
    monkeypatch.setattr(runtime, "self_check", lambda: few)
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--numerics"])
    output = capsys.readouterr()
    assert "drops a Relu before a QuantizeLinear" in output.out
    if kept:
        assert end.value.code == 0
        assert "2 of 2 small graphs are computed as written" in output.out
    else:
        assert end.value.code == 7
        assert "1 of 2 small graphs" in output.out
        assert "not as written: Conv in fp8: " in output.err
