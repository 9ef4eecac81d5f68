"""GraphSurgeon functions as steps: what a round trip drops is kept, the script is kept, nothing runs unasked."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import workbench
from tests.kit.holders import HOLDERS, Case, held, node
from tests.kit.models import assert_same, constant, model, run, weight
from workbench.errors import EditError, RecipeError
from workbench.graph.edits.base import python_line
from workbench.graph.edits.graph_surgeon import Surgeon
from workbench.graph.load import from_proto, load_model

SCRIPT = '''
"""Functions of an engineer."""

import numpy as np
import onnx_graphsurgeon as gs


def nothing(graph):
    pass


def again(graph):
    """Write the graph and read it again, as one does around shape inference."""
    return gs.import_onnx(gs.export_onnx(graph))


def swap(graph, op, **attributes):
    for node in graph.nodes:
        if node.op == "Relu":
            node.op, node.attrs = op, attributes


def insert(graph, op="Neg"):
    """Put a node behind the first node of every graph, and rename that node."""
    def into(part):
        first = part.nodes[0]
        out = first.outputs[0]
        inner = gs.Variable(out.name + "_inner", dtype=out.dtype, shape=out.shape)
        first.name = "renamed"
        first.outputs = [inner]
        part.nodes.insert(1, gs.Node(op, "put", inputs=[inner], outputs=[out]))
    for part in [graph, *graph.functions, *graph.subgraphs(recursive=True)]:
        into(part)


def double(graph, name):
    weight = graph.tensors()[name]
    weight.values = weight.values * weight.dtype.type(2)


def look(graph):
    """Read every weight, and change none."""
    return None if all(t.values is not None for t in graph.tensors().values() if isinstance(t, gs.Constant)) else graph


def fold(graph):
    graph.fold_constants().cleanup().toposort()


def keep(graph, outputs):
    graph.outputs = [graph.tensors()[name] for name in outputs]
    graph.cleanup()


def wrong(graph):
    return [1][len(graph.nodes) + 5]


def cyclic(graph):
    graph.nodes[0].inputs[0] = graph.nodes[-1].outputs[0]


def dangling(graph):
    graph.nodes[0].inputs[0] = gs.Variable("from_nowhere", dtype=np.float32)


def untyped(graph):
    out = gs.Variable("new")
    graph.nodes.append(gs.Node("Neg", inputs=[graph.outputs[0]], outputs=[out]))
    graph.outputs.append(out)


def text(graph):
    return "a graph"
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "surgery.py"
    path.write_text(SCRIPT)
    return path


def step(script, function, **arguments):
    return Surgeon.of(f"{script}:{function}", arguments)


def rich():
    """A model that says all that GraphSurgeon drops."""
    empty = helper.make_node("Constant", [], ["empty"], "axes")
    empty.attribute.append(helper.make_attribute("value_ints", [], attr_type=onnx.AttributeProto.INTS))
    proto = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Conv", ["x", "w"], ["a"], "conv", doc_string="the stem", pads=[1, 1, 1, 1]),
                helper.make_node("Relu", ["a"], ["r"], "relu"),
                helper.make_node("Block", ["r"], ["b"], "block", domain="local"),
                empty,
                helper.make_node("Concat", ["empty", "empty"], ["shape"], "cat", axis=0),
                helper.make_node("Mul", ["b", "bf"], ["y"], "mul"),
            ],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8], doc_string="an image")],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 8, 8])],
            [weight("w", 4, 3, 3, 3), constant("bf", [2], "float32"), constant("unread", [1, 2], "int64")],
            doc_string="a net",
            value_info=[helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 4, 8, 8])],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("local", 1)],
        functions=[
            helper.make_function(
                "local",
                "Block",
                ["i"],
                ["o"],
                [helper.make_node("Relu", ["i"], ["m"], "inner"), helper.make_node("Neg", ["m"], ["o"], "outer")],
                [helper.make_opsetid("", 17)],
            )
        ],
        ir_version=10,
        producer_name="exporter",
        doc_string="a model",
        model_version=3,
        domain="org.example",
    )
    helper.set_model_props(proto, {"classes": "7"})
    graph = proto.graph
    for place in (graph, graph.node[0], graph.value_info[0], graph.initializer[0], proto.functions[0]):
        place.metadata_props.add(key="from", value="torch")
    proto.functions[0].node[0].metadata_props.add(key="scope", value="/block")
    proto.functions[0].doc_string = "a block"
    return from_proto(proto)


def test_a_function_that_changes_nothing_leaves_the_very_model(script):
    page = rich()
    for function in ("nothing", "look"):
        result = step(script, function)(page)
        assert not result.changed
        assert result.model is page
    # GraphSurgeon's own writer fails on an empty list of numbers.
    with pytest.raises(EditError, match="Could not infer attribute `value_ints` type from empty iterator"):
        step(script, "again")(page)


def test_what_a_round_trip_drops_is_kept(script):
    page = rich()
    after = step(script, "swap", op="LeakyRelu", alpha=0.5)(page).model
    assert [one.op_type for one in after.nodes.values()][:2] == ["Conv", "LeakyRelu"]
    expected = onnx.ModelProto()
    expected.CopyFrom(page.proto)
    relu = expected.graph.node[1]
    relu.op_type = "LeakyRelu"
    relu.attribute.append(helper.make_attribute("alpha", 0.5))
    # Byte for byte the same but for what was changed: all metadata, doc strings, types, weights, the function.
    assert after.to_bytes() == from_proto(expected).to_bytes()


def test_a_node_that_was_renamed_keeps_what_is_said_of_it(script):
    result = step(script, "insert")(rich())
    conv = result.model.nodes["renamed"]
    assert conv.doc_string == "the stem"
    assert conv.metadata_props == {"from": "torch"}
    assert result.notes == ("insert: 2 nodes added",)
    inner = result.model.nodes["function(local:Block)/renamed"]
    assert (inner.op_type, inner.metadata_props) == ("Relu", {"scope": "/block"})
    (function,) = result.model.ir_model.functions.values()
    assert (function.doc_string, function.metadata_props) == ("a block", {"from": "torch"})
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    before, after = run(rich(), {"x": x})[0], run(result.model, {"x": x})[0]
    assert not np.allclose(before, after)


@pytest.mark.parametrize("holder", HOLDERS)
def test_subgraphs_and_functions(script, holder):
    case = Case([node("Mul", "x k", "m"), node("Relu", "m", "y")])
    outcome = held(case, holder)
    assert not step(script, "nothing")(outcome).changed
    assert not step(script, "again")(outcome).changed
    after = step(script, "insert", op="Identity")(outcome).model
    at = HOLDERS[holder]
    assert {"put"} <= {address.removeprefix(at) for address in after.nodes if address.startswith(at)}
    assert set(after.initializers) == set(outcome.initializers)


def test_a_weight_that_a_branch_reads_from_around_it_stays_there(script):
    branch = [
        helper.make_graph(
            [helper.make_node(op, ["x", "outer"], [f"{op}_y"], op)],
            op,
            [],
            [helper.make_tensor_value_info(f"{op}_y", TensorProto.FLOAT, [3])],
        )
        for op in ("Add", "Mul")
    ]
    nodes = [
        helper.make_node("If", ["c"], ["b"], "if", then_branch=branch[0], else_branch=branch[1]),
        helper.make_node("Relu", ["b"], ["y"], "relu"),
    ]
    network = model(
        nodes, {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]}, [constant("outer", [1, 2, 3], "float32")]
    )
    after = step(script, "swap", op="Neg")(network).model
    assert [list(part.initializers) for _, part in after.graphs] == [["outer"], [], []]
    twice = step(script, "double", name="outer")
    with pytest.raises(EditError, match="KeyError: 'outer'"):  # GraphSurgeon shows it in the branches alone
        twice(network)


def test_graphsurgeons_own_folding_is_checked(script):
    two = numpy_helper.from_array(np.float32(2), "two")
    nodes = [helper.make_node("Mul", ["two", "two"], ["four"], "m"), helper.make_node("Mul", ["x", "four"], ["y"], "y")]
    network = model(nodes, {"x": [3]}, {"y": [3]}, [two])
    after = step(script, "fold")(network).model
    assert list(after.nodes) == ["y"]
    assert_same(network, after)

    def branch(op):
        inner = [helper.make_node(op, ["x"], [f"{op}1"], "a"), helper.make_node(op, [f"{op}1"], [f"{op}2"], "b")]
        outs = [helper.make_tensor_value_info(f"{op}{n}", TensorProto.FLOAT, [3]) for n in (1, 2)]
        return helper.make_graph(inner, op, [], outs)

    choice = helper.make_node("If", ["c"], ["a", "b"], "if", then_branch=branch("Relu"), else_branch=branch("Neg"))
    add = helper.make_node("Add", ["a", "b"], ["y"], "add")
    network = model([choice, add], {"x": [3]}, {"y": [3]}, [numpy_helper.from_array(np.array(True), "c")])
    # GraphSurgeon keeps the first output of the If alone.
    with pytest.raises(EditError, match="tensor 'b' is read, but nothing makes it"):
        step(script, "fold")(network)


@pytest.mark.parametrize("dtype", ["BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "INT4", "UINT4", "FLOAT16", "INT8"])
def test_weights_of_every_type_can_be_changed(script, dtype):
    kind = ir.DataType[dtype]
    numbers = np.array([1, 2, 3], np.float32).astype(kind.numpy())
    tensor = ir.to_proto(ir.Tensor(numbers, name="w"))
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    network = model(nodes, {"x": [3]}, {"y": [3]}, [tensor], opset=21, ir_version=10)
    assert not step(script, "look")(network).changed
    after = step(script, "double", name="w")(network).model
    content = after.initializers["w"].const_value
    assert content.dtype == kind
    np.testing.assert_array_equal(content.numpy().astype(np.float32), [2, 4, 6])
    assert from_proto(after.proto).digest == after.digest


def test_shapes_behind_a_change_are_corrected(tmp_path):
    (tmp_path / "pool.py").write_text("def stride(graph, by):\n    graph.nodes[0].attrs['strides'] = [by, by]\n")
    network = model(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], "conv", pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["y"], "relu"),
        ],
        {"x": [1, 3, 8, 8]},
        {"y": [1, 4, 8, 8]},
        [weight("w", 4, 3, 3, 3)],
    )
    proto = network.proto
    proto.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 4, 8, 8]))
    result = step(tmp_path / "pool.py", "stride", by=2)(from_proto(proto))
    assert result.notes == (
        "stride: 1 nodes changed",
        "output y float[1x4x8x8] is float[1x4x4x4] now",
    )
    assert [str(tensor) for tensor in result.model.outputs] == ["y float[1x4x4x4]"]
    assert run(result.model, {"x": np.ones((1, 3, 8, 8), np.float32)})[0].shape == (1, 4, 4, 4)


def test_a_tensor_inside_becomes_an_output_with_its_type(script):
    result = step(script, "keep", outputs=["r"])(rich())  # the file does not state its type
    assert [str(tensor) for tensor in result.model.outputs] == ["r float[Nx4x8x8]"]
    assert list(result.model.top_nodes) == ["conv", "relu"]
    assert result.notes == ("keep: 4 nodes removed",)


def test_what_goes_wrong_is_one_line(script):
    page = rich()
    for function, message in {
        "wrong": r"surgery\.py:\d+: wrong raised IndexError: list index out of range\. The model is unchanged",
        "cyclic": "would leave a graph with a cycle",
        "dangling": "tensor 'from_nowhere' is read, but nothing makes it",
        "untyped": "tensor 'new' has no element type, as an input or output must. Set its dtype",
        "text": "it returned a str. Return a GraphSurgeon graph",
        "nowhere": r"there is no function 'nowhere' in it. It has nothing, again, swap",
    }.items():
        with pytest.raises(EditError, match=message) as caught:
            step(script, function)(page)
        assert "\n" not in str(caught.value)
    with pytest.raises(EditError, match=r"got an unexpected keyword argument 'by'. It is nothing\(graph\)"):
        step(script, "nothing", by=2)(page)
    with pytest.raises(EditError, match=r"array.* is no argument that a recipe can hold"):
        step(script, "keep", outputs=np.ones(2))
    with pytest.raises(EditError, match='Write "script'):
        Surgeon.of(str(script), {})
    script.write_text("def broken(:")
    with pytest.raises(EditError, match=r"surgery\.py:1: broken raised SyntaxError"):
        step(script, "broken")(page)


def test_it_is_a_step_that_undoes_and_replays(script, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(rich().to_bytes())
    wb = workbench.open_model(path)
    wb.surgeon(f"{script}:swap", op="LeakyRelu", alpha=0.25)
    wb.edit("remove_dead")
    script.write_text("raise SystemExit('another version')")  # the step is what it was when it was made
    wb.undo()
    assert [one.do for one in wb.recipe.steps] == ["surgeon"]
    assert python_line(wb.recipe.steps[0]) == "wb.surgeon(\"surgery.py:swap\", op='LeakyRelu', alpha=0.25)"
    after = wb.model.to_bytes()
    wb.undo()
    assert wb.model.to_bytes() == load_model(path).to_bytes()
    wb.redo()
    assert wb.model.to_bytes() == after

    folder = tmp_path / "handed"
    folder.mkdir()
    (folder / "surgery.py").write_text("# somebody else's")
    recipe = wb.recipe.save(folder / "recipe.yaml")
    (copy,) = (file for file in folder.iterdir() if file.stem.startswith("surgery-"))
    assert copy.read_text() == SCRIPT
    assert (folder / "surgery.py").read_text() == "# somebody else's"
    assert f"script: {copy.name}" in recipe.read_text()
    with pytest.raises(RecipeError, match=r"runs swap of a script, and a recipe runs no code that was not allowed"):
        workbench.open_recipe(recipe)
    assert workbench.open_recipe(recipe, allow_scripts=True).model.to_bytes() == after
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    again = workbench.open_recipe(recipe, allow_scripts=True).recipe.save(elsewhere / "recipe.yaml")
    assert (elsewhere / copy.name).read_text() == SCRIPT
    assert workbench.open_recipe(again, allow_scripts=True).model.to_bytes() == after
    copy.write_text(SCRIPT + "\n")
    with pytest.raises(RecipeError, match=r"the script of swap is not the one of the recipe: its sha256 differs"):
        workbench.open_recipe(recipe, allow_scripts=True)
    copy.unlink()
    with pytest.raises(RecipeError, match=r"the script of swap is missing"):
        workbench.open_recipe(recipe, allow_scripts=True)


def test_numbers_are_compared_where_asked_for(script, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(rich().to_bytes())
    wb = workbench.open_model(path)
    with pytest.raises(EditError, match="would move output 'y' by 1 of its"):
        wb.surgeon(f"{script}:double", name="bf", check=True)
    assert not wb.recipe.steps
    assert str(wb.surgeon(f"{script}:double", name="bf").check) == "not checked, because check=False was given"
    # A Relu stands behind it, so that nothing moves.
    same = wb.surgeon(f"{script}:swap", op="LeakyRelu", alpha=0.5, check=True)
    assert str(same.check).startswith("the output exactly as before")


def test_a_function_of_a_notebook(tmp_path, monkeypatch):
    """Functions of a notebook have a source but no file, and use names of the notebook."""
    import linecache

    source = (
        "import numpy as np\nimport onnx_graphsurgeon as gs\nfrom pathlib import Path as P\nLIMIT = 3\n"
        "def deco(f):\n    return f\n"
        "def scale(graph, by=2.0):\n"
        "    w = graph.tensors()['w']\n"
        "    w.values = np.multiply(w.values, np.float32(by))\n"
        "    assert P('a').name == 'a' and isinstance(w, gs.Constant)\n\n"
        "def limited(graph):\n    return [LIMIT for _ in graph.nodes]\n"
    )
    shown = "<ipython-input-1>"
    monkeypatch.setitem(linecache.cache, shown, (len(source), None, source.splitlines(keepends=True), shown))
    notebook: dict[str, object] = {"__name__": "__main__"}
    exec(compile(source, shown, "exec"), notebook)  # noqa: S102
    path = tmp_path / "m.onnx"
    path.write_bytes(rich().to_bytes())
    wb = workbench.open_model(path)
    scale = workbench.surgeon(notebook["scale"])
    scale(wb, by=0.5)
    np.testing.assert_array_equal(
        wb.model.initializers["w"].const_value.numpy(), rich().initializers["w"].const_value.numpy() / 2
    )
    recipe = wb.recipe.save(tmp_path / "recipe.yaml")
    (copy,) = tmp_path.glob("scale-*.py")
    assert "from pathlib import Path as P\nimport numpy as np\nimport onnx_graphsurgeon as gs" in copy.read_text() or (
        "import numpy as np" in copy.read_text()
    )
    assert "LIMIT" not in copy.read_text()
    assert workbench.open_recipe(recipe, allow_scripts=True).model.digest == wb.model.digest
    with pytest.raises(EditError, match=r"limited: it uses 'LIMIT' of the notebook"):
        workbench.surgeon(notebook["limited"])


def test_a_script_may_mark_its_functions_and_use_its_own_helpers(tmp_path):
    (tmp_path / "marked.py").write_text(
        "import workbench\nNAME = 'from the script'\n\ndef named(graph):\n    graph.nodes[0].name = NAME\n\n"
        "@workbench.surgeon\ndef rename(graph):\n    named(graph)\n"
    )
    assert "from the script" in step(tmp_path / "marked.py", "rename")(rich()).model.nodes


def test_the_command_line_runs_no_script_unasked(script, tmp_path, capsys):
    from workbench.cli import main

    path = tmp_path / "m.onnx"
    network = model(
        [helper.make_node("Conv", ["x", "w"], ["a"], "conv"), helper.make_node("Relu", ["a"], ["y"], "relu")],
        {"x": [1, 3, 4, 4]},
        {"y": [1, 4, 4, 4]},
        [numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")],
    )
    path.write_bytes(network.to_bytes())
    wb = workbench.open_model(path)
    wb.surgeon(f"{script}:swap", op="LeakyRelu", alpha=0.25)
    wb.plan.use("fp32")
    wb.tune()
    (tmp_path / "handed").mkdir()
    recipe = wb.recipe.save(tmp_path / "handed/recipe.yaml")
    script.unlink()
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(recipe), "--out", str(out)])
    assert ended.value.code == 5
    assert "--allow-scripts" in capsys.readouterr().err
    for _ in range(2):  # the second time over what the first left
        with pytest.raises(SystemExit) as ended:
            main(["replay", str(recipe), "--allow-scripts", "--out", str(out)])
        assert ended.value.code in (0, None)
    assert load_model(out / "tuned.onnx").digest == wb.tuned.digest
    assert len(list(out.glob("surgery-*.py"))) == 1
    assert_same(wb.tuned, load_model(out / "tuned.onnx"))


def test_the_line_that_is_told_is_the_innermost_of_the_script(tmp_path):
    path = tmp_path / "deep.py"
    path.write_text("def inner():\n    raise ValueError('deep')\n\n\ndef outer(graph):\n    inner()\n")
    with pytest.raises(EditError, match=r"deep\.py:2: outer raised ValueError: deep"):
        step(path, "outer")(rich())
