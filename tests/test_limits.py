"""What a file may ask for is limited, the limits are told, and each can be raised."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from workbench import limits
from workbench.calibration import Preprocessing, open_samples
from workbench.errors import ModelError, RecipeError, SamplesError, SelectorError, WorkbenchError
from workbench.graph import from_proto, load_model
from workbench.graph.select.language import parse
from workbench.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def as_they_are(monkeypatch):
    monkeypatch.setattr(limits, "_raised", {})
    monkeypatch.delenv(limits.VARIABLE, raising=False)


def test_the_documentation_has_the_limits_that_hold():
    text = (ROOT / "docs" / "reference" / "limits.md").read_text()
    for name, (value, what) in limits.LIMITS.items():
        assert f"| `{name}` | {value:,} | {what} |\n" in text


def test_a_limit_is_raised_by_name_in_python_and_in_the_environment(monkeypatch):
    monkeypatch.setenv(limits.VARIABLE, "sample_mib=7, document_depth=8")
    assert limits.limit("sample_mib") == 7
    limits.set_limit("sample_mib", 9)
    assert (limits.limit("sample_mib"), limits.limit("document_depth")) == (9, 8)
    for wrong in ("nothing=1", "sample_mib", "sample_mib=", "sample_mib=-1", "sample_mib=0", f"sample_mib={'9' * 99}"):
        with pytest.raises(WorkbenchError):
            limits.set_limits(wrong)


def test_on_the_command_line_the_line_names_the_option_and_the_option_works(run, tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("workbench: " + "[" * 60 + "]" * 60)
    words = ("replay", recipe, "--out", tmp_path / "o")
    assert "this workbench reads version 1" in run(*words)[2]
    code, _, message = run(*words, "--limit", "document_depth=50")
    assert code == RecipeError.exit_code
    assert message.count("\n") == 1
    assert "raise it: --limit document_depth=" in message
    assert "this workbench reads version 1" in run(*words, "--limit=document_depth=70")[2]


def nested(depth):
    return "workbench: " + "[" * depth + "]" * depth


def unfolding(levels):
    lines = ["l0: &l0 [x, x]", *(f"l{i}: &l{i} [*l{i - 1}, *l{i - 1}, *l{i - 1}]" for i in range(1, levels))]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (nested(150), "lists and mappings inside of one another"),
        (nested(5000), "nested far too deep"),
        (unfolding(40), "values in such a document"),
        ("a: &a [*a]", "a part of it holds itself"),
        ("workbench: " + "9" * 5000, "digits"),
        ("workbench: 2026-13-77", "not a recipe|not readable|schema version"),
    ],
)
def test_documents_beyond_all_measure_are_one_line(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        Recipe.load(path)


def test_an_alias_in_a_document_is_no_fault():
    document = yaml.safe_load("a: &a {x: [1, 2]}\nb: [*a, *a]\nc: *a")
    limits.check_document(document, RecipeError, where="here")


@pytest.mark.parametrize("text", ["(" * 60 + "*" + ")" * 60, "!" * 60 + "*", "a|" * 60_000 + "a"])
def test_selectors_beyond_all_measure_are_one_line(text):
    with pytest.raises(SelectorError, match="the limit is"):
        parse(text)


@pytest.mark.parametrize("shape", ["(12, 3, 8, 99999999999)", "(10**15, 3, 8, 8)", "(-1, 3, 8, 8)"])
def test_samples_whose_header_claims_too_much_are_one_line(tmp_path, small_cnn, shape):
    path = tmp_path / "s.npy"
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64))
    model = load_model(small_cnn)
    with pytest.raises(SamplesError):
        list(open_samples(path, model))


def test_an_image_of_too_many_pixels_is_one_line_and_the_limit_can_be_lowered(tmp_path, small_cnn):
    Image.fromarray(np.zeros((2000, 2000), np.uint8)).save(tmp_path / "a.png")
    samples = open_samples(tmp_path, load_model(small_cnn), preprocessing=Preprocessing())
    assert len(list(samples)) == 1
    limits.set_limit("image_megapixels", 3)
    with pytest.raises(SamplesError, match="megapixels of an image"):
        list(samples)


def functions(levels, calls=2):
    """A model of local functions each of which calls the one before twice."""
    ids = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    records = [helper.make_function("f", "F0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], ids)]
    for level in range(1, levels):
        chain = [f"t{i}" for i in range(calls - 1)]
        ends = zip(["a", *chain], [*chain, "b"], strict=True)
        nodes = [helper.make_node(f"F{level - 1}", [x], [y], domain="f") for x, y in ends]
        records.append(helper.make_function("f", f"F{level}", ["a"], ["b"], nodes, ids))
    graph = helper.make_graph(
        [helper.make_node(f"F{levels - 1}", ["x"], ["y"], domain="f")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    return helper.make_model(graph, functions=records, opset_imports=ids, ir_version=8)


def test_functions_that_unfold_beyond_all_measure_are_refused_and_a_few_are_not():
    assert from_proto(functions(4)).nodes
    with pytest.raises(ModelError, match="once its local functions are put in place"):
        from_proto(functions(40))


def test_a_function_that_calls_itself_is_refused():
    model = functions(3)
    model.functions[0].node[0].op_type, model.functions[0].node[0].domain = "F2", "f"
    with pytest.raises(ModelError, match="calls itself"):
        from_proto(model)


def small(nodes, inputs, weights=()):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


N = helper.make_node
HUNGRY = {
    "a Range of 2 ** 31": small(
        [N("Range", ["a", "b", "d"], ["r"]), N("Cast", ["r"], ["c"], to=1), N("Add", ["x", "c"], ["y"])],
        ["N"],
        [("a", 0), ("b", 2**31), ("d", 1)],
    ),
    "an axis of 2 ** 62": small([N("Neg", ["x"], ["c"]), N("Add", ["x", "c"], ["y"])], [2**62]),
    "a length of -1": small([N("ConstantOfShape", ["n"], ["c"]), N("Add", ["x", "c"], ["y"])], ["N"], [("n", [-1])]),
    "zeros of 2 ** 40": small(
        [N("ConstantOfShape", ["n"], ["c"]), N("Add", ["x", "c"], ["y"])], ["N"], [("n", [2**20, 2**20])]
    ),
    "doubled 40 times": small(
        [
            N("ConstantOfShape", ["n"], ["t0"]),
            *(N("Concat", [f"t{i}", f"t{i}"], [f"t{i + 1}"], axis=0) for i in range(40)),
            N("Add", ["x", "t40"], ["y"]),
        ],
        ["N"],
        [("n", [1024])],
    ),
}

LOOK = """
import resource, sys
import workbench
from workbench.graph import load_model, summary
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
for path in sys.argv[1:]:
    summary(load_model(path)).text()
    wb = workbench.open_model(path)
    try:
        wb.edit("fold_constants", check=False)
    except workbench.WorkbenchError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_models_of_few_bytes_that_ask_for_all_memory_are_looked_at_in_little(tmp_path):
    paths = []
    for number, model in enumerate(HUNGRY.values()):
        paths.append(str(tmp_path / f"{number}.onnx"))
        Path(paths[-1]).write_bytes(model.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *paths],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 1500  # MiB; each asks for at least twenty times as much


def test_a_limit_is_a_positive_number_of_at_most_eighteen_digits():
    limits.set_limit("sample_mib", 1)
    assert limits.limit("sample_mib") == 1
    limits.set_limits(f"sample_mib={'9' * 18}")
    assert limits.limit("sample_mib") == 10**18 - 1
    with pytest.raises(WorkbenchError, match=r"^limit 'sample_mib=9{19}': not like NAME=NUMBER"):
        limits.set_limits(f"sample_mib={'9' * 19}")
    with pytest.raises(WorkbenchError, match=r"^sample_mib: a limit is a positive number"):
        limits.set_limit("sample_mib", 0)
    with pytest.raises(WorkbenchError, match=r"^nothing: there is no such limit\. There are sample_mib, array_mib, "):
        limits.set_limit("nothing", 1)


def test_bytes_are_told_in_mib_as_far_as_a_float_goes():
    assert [limits.mib(count) for count in (0, 3 << 19, 5 << 20)] == [0.0, 1.5, 5.0]
    assert limits.mib(2**1000 - 1) == 2.0**980
    assert limits.mib(2**1000) == float("inf")


def test_what_is_beyond_a_limit_is_said_with_what_would_be_enough():
    limits.set_limit("sample_mib", 8)
    limits.check("sample_mib", 8, SamplesError)
    with pytest.raises(SamplesError) as caught:
        limits.check("sample_mib", 8.5, SamplesError, where="x", what="this")
    assert str(caught.value) == (
        "x: this has 8.5 MiB of one sample of one input; the limit is 8. "
        "If that is right, raise it: --limit sample_mib=9."
    )
    with pytest.raises(SamplesError, match=r"^it has inf MiB .* --limit sample_mib=100000000000000001\.$"):
        limits.check("sample_mib", float("inf"), SamplesError)


NESTED, EMPTY = [[1]], []


@pytest.mark.parametrize(
    ("limit", "most", "document"),
    [
        ("document_values", 5, {"a": [1, 2]}),
        ("document_values", 4, ({1, 2, 3},)[0]),
        ("document_values", 1, []),
        ("document_values", 1, "text"),
        ("document_values", 7, [NESTED, NESTED]),  # counted as often as it is repeated
        ("document_depth", 3, [NESTED]),
        ("document_depth", 2, {"a": ()}),
        ("document_depth", 4, [NESTED, [NESTED]]),
        ("document_depth", 2, [EMPTY, EMPTY]),
    ],
)
def test_a_document_may_hold_and_be_as_deep_as_the_limit_and_no_more(limit, most, document):
    limits.set_limit(limit, most)
    limits.check_document(document, RecipeError, where="here")
    if most > 1:
        limits.set_limit(limit, most - 1)
        with pytest.raises(RecipeError, match=rf"^here: it has {most} .*; the limit is {most - 1}\."):
            limits.check_document(document, RecipeError, where="here")
