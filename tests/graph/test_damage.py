"""What a damaged file holds is said in one line: of a tensor, of a part and of a function."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import proto, weight
from workbench import limits
from workbench.errors import ModelError
from workbench.graph.damage import check_functions, check_parts, check_tensors

node = helper.make_node


def line_of(check):
    """What a check says against what it is given, if anything; all of them name the model and say what to do."""
    try:
        check()
    except ModelError as error:
        return str(error).removeprefix("m: ").removesuffix(". Export or copy it again, or repair the named part.")
    return None


def told(tensor):
    line = line_of(lambda: check_tensors([TensorProto(data_type=1), tensor], "m"))
    return line and line.removeprefix(f"the stored tensor {tensor.name!r} ")


FIELDS = {
    "FLOAT": ("float_data", 3),
    "COMPLEX64": ("float_data", 6),
    "DOUBLE": ("double_data", 3),
    "COMPLEX128": ("double_data", 6),
    "INT64": ("int64_data", 3),
    "UINT32": ("uint64_data", 3),
    "UINT64": ("uint64_data", 3),
    "INT32": ("int32_data", 3),
    "INT16": ("int32_data", 3),
    "UINT16": ("int32_data", 3),
    "INT8": ("int32_data", 3),
    "UINT8": ("int32_data", 3),
    "BOOL": ("int32_data", 3),
    "FLOAT16": ("int32_data", 3),
    "BFLOAT16": ("int32_data", 3),
    "FLOAT8E4M3FN": ("int32_data", 3),
    "INT4": ("int32_data", 2),
    "UINT4": ("int32_data", 2),
    "FLOAT4E2M1": ("int32_data", 2),
    "INT2": ("int32_data", 1),
    "UINT2": ("int32_data", 1),
}


@pytest.mark.parametrize("kind", FIELDS)
def test_numbers_stand_in_the_field_of_their_type(kind):
    field, count = FIELDS[kind]
    dtype = TensorProto.DataType.Value(kind)
    assert told(TensorProto(data_type=dtype, dims=[3], **{field: [1] * count})) is None
    wrong = told(TensorProto(name="w", data_type=dtype, dims=[3], **{field: [1] * (count + 1)}))
    assert wrong == f"has {count + 1} numbers, and its lengths want {count}"
    other = "float_data" if field != "float_data" else "int32_data"
    assert told(TensorProto(name="w", data_type=dtype, dims=[3], **{other: [1] * 3})) == (
        f"has numbers in {other}, and those of its type stand in raw_data or {field} alone"
    )


def test_text_stands_in_a_field_of_its_own():
    assert told(TensorProto(data_type=TensorProto.STRING, dims=[3], string_data=[b"a"] * 3)) is None
    wrong = TensorProto(data_type=TensorProto.STRING, dims=[3], string_data=[b"a"] * 2)
    assert told(wrong) == "has 2 numbers, and its lengths want 3"
    raw = TensorProto(data_type=TensorProto.STRING, dims=[3], raw_data=b"abc")
    assert told(raw) == "has 3 bytes of data, and its lengths and type want -1"
    beside = TensorProto(data_type=TensorProto.STRING, dims=[3], data_location=TensorProto.EXTERNAL)
    assert told(beside) == "is text, which ONNX keeps in no file of its own"


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (TensorProto(data_type=1, dims=[3]), None),
        (TensorProto(data_type=1, dims=[3], raw_data=b""), None),
        (TensorProto(data_type=1, dims=[3, 5], raw_data=bytes(60)), None),
        (
            TensorProto(data_type=1, dims=[3, 5], raw_data=bytes(59)),
            "has 59 bytes of data, and its lengths and type want 60",
        ),
        (TensorProto(data_type=22, dims=[3], raw_data=bytes(2)), None),
        (TensorProto(data_type=1, dims=[0]), None),
        (TensorProto(data_type=1, dims=[3], data_location=TensorProto.EXTERNAL), None),
        (TensorProto(data_type=1, dims=[3, -1]), "has the lengths [3, -1]"),
        (TensorProto(dims=[3]), "has no type"),
        (TensorProto(data_type=999), "has the type 999, which ONNX does not know"),
        (
            TensorProto(data_type=1, dims=[1], int64_data=[1], double_data=[1]),
            "has numbers in int64_data, double_data, and those of its type stand in raw_data or float_data alone",
        ),
        (
            TensorProto(data_type=1, dims=[1], float_data=[1], raw_data=bytes(4)),
            "has numbers in raw_data and float_data, and those of its type stand in raw_data or float_data alone",
        ),
    ],
)
def test_a_tensor_has_a_type_lengths_and_as_many_numbers(tensor, reason):
    assert told(tensor) == reason


def test_a_description_is_text():
    content = TensorProto(data_type=1, doc_string="abcd").SerializeToString().replace(b"abcd", b"\xff\xff\xff\xff")
    damaged = TensorProto.FromString(content)
    assert told(damaged) == "has a name or a description that is no UTF-8 text"


def graph(nodes, inputs=(), outputs=(), name="b"):
    values = [[helper.make_tensor_value_info(one, 1, [2]) for one in names] for names in (inputs, outputs)]
    return helper.make_graph(nodes, name, *values)


def refusal(*nodes, functions=()):
    """What is said of a model of some nodes, if anything."""
    stated = proto(nodes, {"x": [2], "yes": (TensorProto.BOOL, [])}, {"y": [2]}, domains=["own"], functions=functions)
    return line_of(lambda: check_parts(ir.from_proto(stated), "m"))


IDENTITY = node("Identity", ["go"], ["on"])


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        (["i", "go"], ["on"], None),
        (["i", "go", "s"], ["on", "s"], None),
        (["go"], ["on"], "1 inputs and 1 outputs"),
        (["i", "go"], [], "2 inputs and 0 outputs"),
    ],
)
def test_a_loops_body_takes_the_iteration_and_a_condition_and_returns_one(inputs, outputs, reason):
    loop = node("Loop", ["", "yes"], ["y"], "l", body=graph([IDENTITY], inputs, outputs))
    expected = reason and (
        f"node 'l' (Loop) has a body of {reason}; it is handed the iteration and the condition, and returns a condition"
    )
    assert refusal(loop) == expected


@pytest.mark.parametrize(
    ("scanned", "reason"),
    [
        (1, None),
        (2, None),
        (3, "node 'Scan' (Scan) scans 3 of its 2 inputs"),
        (0, "node 'Scan' (Scan) scans 0 of its 2 inputs"),
        (-1, "node 'Scan' (Scan) scans -1 of its 2 inputs"),
        (None, "node 'Scan' (Scan) does not say how many inputs it scans (num_scan_inputs)"),
        (1.0, "node 'Scan' (Scan) does not say how many inputs it scans (num_scan_inputs)"),
    ],
)
def test_a_scan_goes_through_one_input_at_least_and_all_at_most(scanned, reason):
    stated = {} if scanned is None else {"num_scan_inputs": scanned}
    scan = node("Scan", ["x", "x"], ["y"], body=graph([node("Neg", ["s"], ["t"])], ["s", "e"], ["t"]), **stated)
    assert refusal(scan) == reason


@pytest.mark.parametrize(
    ("op", "names"),
    [("If", ["then_branch", "else_branch"]), ("Loop", ["body"]), ("Scan", ["body"]), ("SequenceMap", ["body"])],
)
def test_a_node_has_each_of_its_graphs(op, names):
    for missing in names:
        others = {name: graph([node("Neg", ["x"], ["z"])], [], ["z"]) for name in names if name != missing}
        assert refusal(node(op, ["yes"], ["y"], "it", **others)) == f"node 'it' ({op}) has no graph {missing!r}"
        assert refusal(node(op, ["yes"], ["y"], "it", **others, **{missing: 1})) == (
            f"node 'it' ({op}) has no graph {missing!r}"
        )
        assert refusal(node(op, ["yes"], ["y"], "it", domain="own", **others)) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("value", "TENSOR"),
        ("value_float", "FLOAT"),
        ("value_int", "INT"),
        ("value_floats", "FLOATS"),
        ("value_ints", "INTS"),
    ],
)
def test_an_attribute_of_a_constant_is_of_the_kind_that_its_name_says(name, kind):
    rights = {"TENSOR": weight("k", 2), "FLOAT": 1.5, "INT": 3, "FLOATS": [1.5], "INTS": [3]}
    text = f"attribute {name!r} of node 'k' is of the kind STRING, and that of a Constant is {kind}"
    for domain in ("", "ai.onnx"):
        assert refusal(node("Constant", [], ["y"], "k", domain=domain, **{name: rights[kind]})) is None
        assert refusal(node("Constant", [], ["y"], "k", domain=domain, **{name: "text"})) == text
    assert refusal(node("Constant", [], ["y"], "k", domain="own", **{name: "text"})) is None
    assert refusal(node("Own", [], ["y"], "k", **{name: "text"})) is None


def given(name, kind):
    return onnx.AttributeProto(name=name, type=onnx.AttributeProto.AttributeType.Value(kind), ref_attr_name="given")


def test_an_attribute_that_a_call_gives_stands_in_a_function_at_any_depth():
    inner = node("LeakyRelu", ["a"], ["z"], "leaky")
    inner.attribute.append(given("alpha", "FLOAT"))
    outside = "attribute 'alpha' of node 'leaky' is to be 'given' of a function, and is in none"
    body = graph([inner], [], ["z"])
    holders = [
        node("If", ["a"], ["z"], "if", then_branch=body, else_branch=body),
        node("Own", ["a"], ["z"], "own", domain="own", axis=1, parts=[graph([], [], ["a"]), body]),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for holder in (inner, *holders):
        function = helper.make_function("own", "F", ["a"], ["z"], [holder], opsets, ["given"])
        assert refusal(node("F", ["x"], ["y"], domain="own"), functions=[function]) is None
        assert refusal(holder) == outside


def test_an_attribute_has_a_type_and_a_tensor_of_one():
    nameless = node("Own", ["x"], ["y"])
    nameless.attribute.add(name="odd")
    assert refusal(nameless) == "attribute 'odd' of node 'Own' has no type"
    for kind in ("TENSOR", "TENSORS"):
        holder = node("Own", ["x"], ["y"], "own")
        held = holder.attribute.add(name="odd", type=onnx.AttributeProto.AttributeType.Value(kind))
        if kind == "TENSORS":
            held.tensors.extend([weight("k", 2), TensorProto()])
        assert refusal(holder) == "attribute 'odd' of node 'own' holds a tensor without a type"
        if kind == "TENSORS":
            del held.tensors[1]
            assert refusal(holder) is None


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (lambda made: made.graph.input[0], "a tensor"),
        (lambda made: made.graph.node[0], "a node"),
    ],
)
def test_every_name_is_text(place, what):
    made = proto([node("Relu", ["w"], ["y"], "r")], {"x": [2]}, {"y": [2]}, [weight("w", 2)])
    place(made).name = "damaged"
    damaged = onnx.ModelProto.FromString(made.SerializeToString().replace(b"damaged", b"\xffamaged"))
    with pytest.raises(ModelError, match=f"the name of {what} is no UTF-8 text: b'"):
        check_parts(ir.from_proto(damaged), "m")


@pytest.mark.parametrize(
    ("field", "what"), [("op_type", "an operator"), ("domain", "an operator's domain"), ("output", "a tensor")]
)
def test_every_word_of_a_node_is_text(field, what):
    made = proto([node("Own", ["x"], ["z"], "r"), node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]})
    if field == "output":
        made.graph.node[0].output[0] = "damaged"
    else:
        setattr(made.graph.node[0], field, "damaged")
    damaged = onnx.ModelProto.FromString(made.SerializeToString().replace(b"damaged", b"\xffamaged"))
    with pytest.raises(ModelError, match=f"the name of {what} is no UTF-8 text: b'"):
        check_parts(ir.from_proto(damaged), "m")


def test_what_a_function_is_called_is_text_though_nobody_calls_it():
    idle = helper.make_function(
        "own", "damaged", ["a"], ["b"], [node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    made = proto([node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]}, functions=[idle])
    made = onnx.ModelProto.FromString(made.SerializeToString().replace(b"damaged", b"\xffamaged"))
    with pytest.raises(ModelError, match="the name of a function is no UTF-8 text: b'"):
        check_parts(ir.from_proto(made), "m")


def test_an_output_without_a_name_is_told_by_its_place():
    made = proto([node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2], "z": [2]})
    made.graph.output[1].name = ""
    with pytest.raises(ModelError, match="output 1 of the graph has no name"):
        check_parts(ir.from_proto(made), "m")


OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def function(name, *nodes):
    return helper.make_function("own", name, ["a"], ["b"], list(nodes), OPSETS)


def call(name, **attributes):
    return node(name, ["a"], ["b"], domain="own", **attributes)


def nested(*inner):
    body = graph(list(inner), [], ["b"])
    return node("Own", ["a"], ["b"], one=body, more=[body, body])


@pytest.mark.parametrize(
    ("functions", "main", "count"),
    [
        ([function("F", node("Neg", ["a"], ["b"]))], [call("F")], 2),
        ([function("F", *[node("Neg", ["a"], ["b"])] * 3)], [call("F"), node("Relu", ["x"], ["y"]), call("F")], 9),
        ([function("F", *[node("Neg", ["a"], ["b"])] * 3), function("G", call("F"), call("F"))], [call("G")], 9),
        ([function("F", call("G")), function("G", node("Neg", ["a"], ["b"]))], [call("F")], 3),
        ([function("F", nested(node("Neg", ["a"], ["b"])))], [nested(call("F"), call("F"))], 1 + 3 * 2 * (1 + 4)),
        ([function("Idle", node("Neg", ["a"], ["b"]))], [], 0),
        ([function("Empty")], [call("Empty")], 1),
    ],
)
def test_functions_in_place_of_their_calls_are_counted(functions, main, count, monkeypatch):
    made = proto(main, {"x": [2]}, {}, functions=functions)
    monkeypatch.setitem(limits._raised, "function_nodes", count)
    check_functions(made, "m")
    monkeypatch.setitem(limits._raised, "function_nodes", count - 1)
    with pytest.raises(ModelError, match=f"m: it has {count} nodes of a model once its local functions"):
        check_functions(made, "m")


def test_a_model_without_functions_may_have_any_number_of_nodes(monkeypatch):
    monkeypatch.setitem(limits._raised, "function_nodes", 1)
    check_functions(proto([node("Relu", ["x"], ["y"])] * 3, {"x": [2]}, {}), "m")


@pytest.mark.parametrize(
    ("functions", "name"),
    [
        ([function("F", call("F"))], "F"),
        ([function("F", call("G")), function("G", call("F"))], "G"),
        ([function("F", nested(call("F")))], "F"),
    ],
)
def test_a_function_that_calls_itself_is_refused(functions, name):
    with pytest.raises(ModelError, match=r"m: function '\w' calls itself"):
        check_functions(proto([call(name)], {"x": [2]}, {}, functions=functions), "m")
    with pytest.raises(ModelError, match=r"m: function '\w' calls itself"):
        check_functions(proto([], {"x": [2]}, {}, functions=functions), "m")
