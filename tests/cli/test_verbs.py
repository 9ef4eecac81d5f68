"""The command line: the main job, its bad inputs, its exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.kit.places import ROOT
from workbench.cli.command import command
from workbench.jobs import VERBS
from workbench.recipe import Recipe
from workbench.recipe.steps import CalibrateStep

COMMAND = [sys.executable, "-m", "workbench"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def start(*arguments, cwd=None, **environment):
    """Run a command as a shell would; the fixture `run` has no process to start, for what does not need one."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
    )


@pytest.fixture(scope="module")
def tuned(small_cnn, small_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "out"
    labels = small_data.with_name("labels.npy")
    result = start("tune", small_cnn, "--samples", small_data, "--labels", labels, "--runs", 3, "--out", out)
    return result, out


def test_tune_writes_its_files_and_prints_the_table(tuned):
    result, out = tuned
    assert result.returncode == 0, result.stderr
    names = ["recipe.yaml", "report.html", "report.json", "statistics.npz", "tuned.onnx"]
    assert sorted(p.name for p in out.iterdir()) == names
    for word in ("top-1", "SQNR", "cosine", "max error", "median latency", "p95 latency", "file size", "MACs in INT8"):
        assert word in result.stdout
    assert f"wrote {out / 'tuned.onnx'}" in result.stdout


def test_how_images_become_inputs_is_said_on_the_command_line(small_cnn, run, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for at in range(2):
        Image.effect_noise((16, 16), 60 + at).convert("RGB").save(images / f"{at}.png")
    words = ["--samples", images, "--runs", "0", "--out", tmp_path / "o"]
    code, _, message = run("tune", small_cnn, *words)
    assert (code, "nothing says how these images become inputs" in message) == (4, True)
    code, _, message = run("tune", small_cnn, *words, "--preprocess", "color=BGR,scale=1/255,mean=0.5/0.25/0.125")
    assert (code, message) == (0, "")
    (step,) = Recipe.load(tmp_path / "o/recipe.yaml").of_kind(CalibrateStep)
    said = step.samples.source["preprocessing"]
    assert (said["color"], said["scale"], said["mean"]) == ("BGR", 1 / 255, [0.5, 0.25, 0.125])
    code, _, message = run("tune", small_cnn, *words, "--preprocess", "color=PINK")
    assert (code, "color" in message) == (4, True)


def test_no_option_that_takes_keys_and_values_is_a_path():
    options = [one for verb in VERBS for one in command(verb).params if one.metavar == "KEY=VALUE,..."]
    assert len(options) >= 6
    assert {type(one.type).__name__ for one in options} == {"StringParamType"}


def test_no_progress_bar_where_output_is_no_terminal(tuned):
    assert tuned[0].stderr == ""


def test_progress_bar_in_a_terminal(small_cnn, small_data, tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.set_blocking(ours, False)
    arguments = ["tune", small_cnn, "--samples", small_data, "--runs", "0", "--out", tmp_path / "o"]
    command = [*COMMAND, *map(str, arguments)]
    subprocess.run(command, stderr=theirs, stdout=subprocess.DEVNULL, check=True, env=ENVIRONMENT)
    # What a terminal was sent is lost once its last writer is gone.
    message = os.read(ours, 100_000).decode()
    os.close(theirs)
    os.close(ours)
    assert "calibrating" in message
    assert "comparing" in message


def test_the_tuned_model_is_valid_and_explicit(tuned):
    model = onnx.load(tuned[1] / "tuned.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}


def test_report_json_has_what_was_measured(tuned):
    report = json.loads((tuned[1] / "report.json").read_text())
    assert report["plan"]["int8_nodes"] == 5
    assert report["comparison"]["samples"] == 12
    assert 0 <= report["comparison"]["accuracy"]["tuned"] <= 1
    assert report["comparison"]["outputs"][0]["sqnr_db"] > 20


def test_replay_makes_the_same_bytes_in_another_process(tuned, tmp_path):
    result = start("replay", tuned[1] / "recipe.yaml", "--out", tmp_path / "again", PYTHONHASHSEED="7")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "again" / "tuned.onnx").read_bytes() == (tuned[1] / "tuned.onnx").read_bytes()


def test_a_rule_that_selects_nothing_is_told_on_replay(tuned, run, tmp_path):
    _, out = tuned
    recipe = (out / "recipe.yaml").read_text()
    rule = "- do: set_precision\n  select: op:LSTM\n  precision: int8\n"
    changed = out / "changed.yaml"
    changed.write_text(recipe.replace("- do: set_precision\n", f"{rule}- do: set_precision\n", 1))
    code, _, message = run("replay", changed, "--out", tmp_path / "again")
    assert code == 0, message
    assert "warning: rule 0 (op:LSTM -> int8) selects nothing in small_cnn" in message
    assert "replay.py" not in message


def test_replay_runs_no_forward_pass(tuned, tmp_path):
    code = (
        "import sys; from workbench.jobs import replay; replay(sys.argv[2], sys.argv[1]); "
        "assert 'onnxruntime' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "again"), str(tuned[1] / "recipe.yaml")]
    subprocess.run(command, check=True)


def test_recalibrate_on_the_same_samples_moves_nothing(tuned, run, tmp_path):
    code, shown, message = run("replay", tuned[1] / "recipe.yaml", "--recalibrate", "--out", tmp_path / "again")
    assert code == 0, message
    assert "no range moved" in shown


def test_recalibrate_on_other_samples_says_what_moved(tuned, run, tmp_path):
    np.savez(tmp_path / "other.npz", x=3 * np.random.default_rng(5).normal(size=(6, 3, 8, 8)).astype(np.float32))
    words = ("--recalibrate", "--samples", tmp_path / "other.npz", "--out", tmp_path / "a")
    code, shown, message = run("replay", tuned[1] / "recipe.yaml", *words)
    assert code == 0, message
    assert "ranges moved" in shown
    assert "  x: " in shown


def test_a_failed_gate_has_its_own_exit_code_and_still_writes(small_cnn, small_data, run, tmp_path):
    words = ("--min-sqnr", 200, "--runs", 0, "--out", tmp_path / "o")
    code, shown, _ = run("tune", small_cnn, "--samples", small_data, *words)
    assert code == 12
    assert "FAILED" in shown
    assert (tmp_path / "o" / "tuned.onnx").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["tune", "none.onnx", "--samples", "s.npz", "--out", "o"], 3, "none.onnx: no such file"),
        (["inspect", "none.onnx"], 3, "no such file"),
        (["replay", "none.yaml", "--out", "o"], 5, "none.yaml: no such file"),
        (["tune", "m.onnx", "--samples", "s.npz", "--max-drop", "1", "--out", "o"], 2, "needs --labels"),
        (["tune"], 2, "Missing argument"),
        (["tune", "m.onnx", "--samples", "s.npz", "--out", "9" * 300], 2, "is no name that a file can have"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(arguments, code, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended, _, shown = run(*arguments)
    assert ended == code
    assert message in shown
    assert "Traceback" not in shown
    if code != 2:
        assert len(shown.strip().splitlines()) == 1


def test_a_traceback_only_with_debug(tmp_path):
    assert "Traceback" in start("inspect", "none.onnx", "--debug", cwd=tmp_path).stderr


def test_other_content_in_the_output_folder_is_not_touched(small_cnn, small_data, run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert run("tune", small_cnn, "--samples", small_data, "--out", tmp_path)[0] == 6
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_bad_samples_leave_no_output(small_cnn, run, tmp_path):
    np.savez(tmp_path / "s.npz", x=np.zeros((2, 3, 9, 9), np.float32))
    code, _, message = run("tune", small_cnn, "--samples", tmp_path / "s.npz", "--out", tmp_path / "o")
    assert code == 4
    assert "sample 0" in message
    assert not (tmp_path / "o").exists()


def test_inspect_in_text_and_json(small_cnn, run):
    _, text, _ = run("inspect", small_cnn)
    assert "opset 13" in text
    assert "Conv 2" in text
    content = json.loads(run("inspect", small_cnn, "--json")[1])
    assert content["nodes"] == 8
    assert content["macs"] is None or content["macs"] > 0


def test_doctor_names_every_backend():
    stdout = start("doctor").stdout
    for name in ("onnxruntime", "tensorrt_rtx", "tensorrt "):
        assert name in stdout
