"""Standard output holds what was asked for, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from workbench.cli.output import own_output


@pytest.fixture
def experimental(tmp_path):
    """A model of which ONNX's checker prints a warning to standard output."""
    value = helper.make_tensor_value_info
    node = helper.make_node("Affine", ["x"], ["y"], "affine", alpha=2.0, beta=1.0)
    graph = helper.make_graph([node], "g", [value("x", TensorProto.FLOAT, [4])], [value("y", TensorProto.FLOAT, [4])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=4), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_json_is_all_that_is_printed(experimental):
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "inspect", str(experimental), "--json"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["custom_ops"] == {"Affine": 1}
    assert b"experimental ops" in done.stderr


def test_what_a_library_writes_goes_to_standard_error(capfd):
    before = sys.stdout
    with capfd.disabled():
        code = (
            "import os, sys\n"
            "from workbench.cli.output import own_output\n"
            "with own_output():\n"
            "    os.write(1, b'theirs\\n')\n"
            "    print('ours \\u00e4')\n"
            "os.write(1, b'afterwards\\n')\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (done.stdout.decode(), done.stderr.decode()) == ("ours ä\nafterwards\n", "theirs\n")
    assert sys.stdout is before


def test_a_stream_that_is_no_file_stays(capsys):
    with own_output():
        sys.stdout.write("ours\n")
    assert capsys.readouterr().out == "ours\n"
    os.fstat(1)


def test_a_full_disk_behind_it_is_one_line():
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "workbench", "--help"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 6
    assert done.stderr.decode().count("\n") == 1
    assert done.stderr.startswith(b"error: No space left on device")


def test_it_is_all_there_where_standard_error_is_closed(experimental):
    words = f"{sys.executable} -m workbench inspect {experimental} --json"
    done = subprocess.run(["/bin/sh", "-c", f"{words} 2>&- <&-"], stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout)["custom_ops"] == {"Affine": 1}
