"""A library that dies of the tuned model costs the comparison, not the tuned model."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.kit.places import ROOT

DEADLY = """
import onnx, onnxruntime, os, signal
plain = onnxruntime.InferenceSession
class Deadly(plain):
    def __init__(self, model, *words, **options):
        nodes = onnx.load_model_from_string(model).graph.node if isinstance(model, bytes) else ()
        if any(a.name == "to" and a.i == onnx.TensorProto.FLOAT16 for node in nodes for a in node.attribute):
            os.kill(os.getpid(), signal.SIGSEGV)
        super().__init__(model, *words, **options)
onnxruntime.InferenceSession = Deadly
"""


def test_the_tuned_file_is_kept_and_one_line_is_said(small_cnn, small_data, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    command = [sys.executable, "-m", "workbench", "tune", small_cnn, "--samples", small_data, "--runs", "0"]
    done = subprocess.run(
        [*map(str, command), "--preset", "fp16", "--out", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 7, done.stderr
    (line,) = done.stderr.splitlines()
    assert "crashed in native code (SIGSEGV)" in line
    assert "tuned.onnx and recipe.yaml are written, and nothing was measured" in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["recipe.yaml", "statistics.npz", "tuned.onnx"]
