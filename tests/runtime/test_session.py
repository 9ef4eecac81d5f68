"""What a session is made of: by its mode, by who looks, by how large the model is and where it was run before."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, weight
from workbench.errors import BackendError
from workbench.runtime import Session, as_written, device, session
from workbench.runtime.device import CPU, Device, on_device
from workbench.runtime.first_run import FirstRun
from workbench.runtime.opsets import OLDEST_OPSET

PRODUCT = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 64]}, {"y": [1, 64]}, [weight("w", 64, 64)])
X = {"x": np.ones((1, 64), np.float32)}


def of_type(kind):
    shape = (kind, [2])
    return model([helper.make_node("Neg", ["x"], ["y"], "neg")], {"x": shape}, {"y": shape})


@pytest.fixture
def steps(monkeypatch):
    """What was done for a session, in order, and what it was made of; nothing is tried or made in another process."""
    seen = []

    class Seen(FirstRun):
        def session(self, *arguments, **options):
            seen.append(("made", self))
            return super().session(*arguments, **options)

    def apart(trial, threads, name, *, runs):
        seen.append(("apart", trial))
        assert (threads, name, runs) == (session.usable_cores(), "g", 3)

    rewritten, checked = session.in_float32, session.check_constants
    monkeypatch.setattr(session, "FirstRun", Seen)
    monkeypatch.setattr(session, "Apart", apart)
    monkeypatch.setattr(session, "attempt", lambda *given: seen.append(("tried", given)))
    monkeypatch.setattr(session, "check_constants", lambda model: seen.append(("constants", model)) or checked(model))
    monkeypatch.setattr(
        session, "in_float32", lambda *given, **more: seen.append(("narrow", more)) or rewritten(*given, **more)
    )
    return seen


@pytest.mark.parametrize(
    ("options", "done"),
    [
        ({}, ["constants", "made"]),
        ({"untried": X}, ["tried", "made"]),
        ({"apart": 3}, ["apart"]),
        ({"apart": 3, "untried": X}, ["apart"]),
    ],
)
def test_what_was_never_run_is_tried_elsewhere_and_what_is_made_of_constants_is_bounded_here(steps, options, done):
    Session(PRODUCT, **options)
    assert [what for what, _ in steps] == done


@pytest.mark.parametrize(
    ("kind", "mode", "rewritten"),
    [
        (TensorProto.FLOAT, "numerics", False),
        (TensorProto.FLOAT16, "numerics", True),
        (TensorProto.BFLOAT16, "numerics", True),
        (TensorProto.FLOAT16, "speed", False),
        (TensorProto.BFLOAT16, "speed", True),
    ],
)
def test_narrow_types_are_computed_in_fp32_and_for_speed_only_what_has_no_kernels(steps, kind, mode, rewritten):
    Session(of_type(kind), mode=mode)
    assert ("narrow" in dict(steps)) == rewritten


@pytest.mark.parametrize("observing", [False, True])
@pytest.mark.parametrize("mode", ["numerics", "speed"])
def test_options_are_those_of_the_mode_and_threads_rest_where_somebody_looks_on(steps, mode, observing):
    Session(PRODUCT, mode=mode, observing=observing)
    (made,) = (one for what, one in steps if what == "made")
    spinning = {"session.intra_op.allow_spinning": "0"} if observing else {}
    assert made.entries == (dict(as_written.options()) if mode == "numerics" else {}) | spinning
    assert list(made.disabled) == as_written.optimizers_off(numerics=mode == "numerics", narrow=False)
    assert (list(made.outputs), list(made.providers), made.thrifty) == (["y"], ["CPUExecutionProvider"], False)
    assert set(made.weights) == ({"w"} if observing else set())


@pytest.mark.parametrize(
    ("mode", "observing", "untried", "size", "stays", "thrifty"),
    [
        ("numerics", False, X, 1, True, True),
        ("numerics", False, X, 1 << 28, False, False),
        ("numerics", False, None, 1, False, True),
        ("numerics", True, X, 1, False, False),
        ("speed", False, X, 1, False, False),
    ],
)
def test_memory_is_saved_where_a_huge_model_is_run_for_its_numbers(
    steps, monkeypatch, mode, observing, untried, size, stays, thrifty
):
    """Narrow weights stay only where the model was tried elsewhere: constants are bounded for all others."""
    monkeypatch.setattr(session, "HUGE_BYTES", size)
    kind = TensorProto.BFLOAT16
    stored = helper.make_tensor("w", kind, [64, 64], np.ones((64, 64)))
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    made = Session(
        model([product], {"x": (kind, [1, 64])}, {"y": (kind, [1, 64])}, [stored]),
        mode=mode,
        observing=observing,
        untried=untried,
    )
    seen = dict(steps)
    assert seen["narrow"] == {"keep": ["y"], "weights_stay": stays}
    assert (made.thrifty, seen["made"].thrifty) == (size == 1, size == 1)
    saving = ["ConstantFolding", "FuseFp16InitializerToFp32NodeTransformer"]
    assert (list(seen["made"].disabled)[-2:] == saving) == thrifty
    assert ("session.disable_prepacking" in seen["made"].entries) == thrifty


def test_weights_that_one_file_cannot_hold_lie_beside_the_message(steps, monkeypatch):
    monkeypatch.setattr(session, "fits_one_file", lambda _: False)
    assert Session(PRODUCT).run(X)["y"].shape == (1, 64)
    assert set(dict(steps)["made"].weights) == {"w"}


def test_what_is_observed_lies_where_onnx_runtime_left_it_on_the_processor_alone(monkeypatch):
    monkeypatch.setattr(device, "unusable", lambda _: "")
    monkeypatch.setattr(Device, "providers", lambda *_: ["CPUExecutionProvider"])
    assert [Session(PRODUCT, observing=one)._observing for one in (False, True)] == [False, True]
    with on_device("cuda:1"):
        assert not Session(PRODUCT, observing=True)._observing
    one = Session(PRODUCT, observing=True)
    result, usual = (session.run(X)["y"] for session in (one, Session(PRODUCT)))
    assert np.array_equal(result, usual)
    assert one.device == CPU


def test_a_sequence_of_results_is_one_array():
    node = helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0, keepdims=0)
    onnx_model = model([node], {"x": [3, 2]}, {})
    graph = onnx_model.thaw()
    graph.graph.outputs.append(graph.graph[0].outputs[0])
    graph.graph.outputs[0].type = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(Session(onnx_model.replaced(graph)).run({"x": x})["parts"], x)


def test_a_session_apart_without_outputs_returns_nothing_for_each_feed():
    assert list(Session(PRODUCT, outputs=[], apart=2).run_each([X, X, X])) == [{}, {}, {}]


@pytest.mark.parametrize(
    ("operator", "attributes", "domain", "training"),
    [
        ("BatchNormalization", {"training_mode": 1}, "", True),
        ("BatchNormalization", {"training_mode": 0}, "", False),
        ("BatchNormalization", {}, "", False),
        ("Dropout", {"training_mode": 1}, "own", False),
    ],
)
def test_running_statistics_are_kept_by_a_normalization_in_training(operator, attributes, domain, training):
    assert session._is_training(ir.node(operator, [], attributes, domain=domain)) == training


def test_of_operator_sets_before_the_oldest_the_simplest_do_not_run():
    def added(opset):
        return model([helper.make_node("Add", ["x", "x"], ["y"], "add")], {"x": [2]}, {"y": [2]}, opset=opset)

    x = {"x": np.array([3, 5], np.float32)}
    assert Session(added(OLDEST_OPSET)).run(x)["y"].tolist() == [6, 10]
    with pytest.raises(BackendError, match="Bring it to a newer operator set"):
        Session(added(OLDEST_OPSET - 1))


def of_weights(count):
    """A model that would hold so many numbers in FP32: memory that nothing touches."""
    whole = PRODUCT.thaw()
    whole.graph.initializers["w"].const_value = ir.Tensor(np.zeros(count, np.float32), name="w")
    return PRODUCT.replaced(whole)


@pytest.mark.parametrize(("count", "huge"), [((1 << 26) - 1, False), (1 << 26, True)])
def test_a_model_of_256_mib_is_huge(count, huge):
    assert session._is_huge(of_weights(count)) == huge


@pytest.mark.parametrize(("count", "beside"), [((1 << 22) - 1, False), (1 << 22, True)])
def test_weights_of_16_mib_lie_beside_the_message(monkeypatch, count, beside):
    made = []
    monkeypatch.setattr(session, "check_constants", lambda _: None)
    monkeypatch.setattr(FirstRun, "session", lambda self, *_, **__: made.append(self) or (None, None))
    Session(of_weights(count))
    assert set(made[0].weights) == ({"w"} if beside else set())


def test_sessions_apart_are_fed_up_to_16_mib_at_once(monkeypatch):
    one = Session(PRODUCT)
    one._session, lots = object.__new__(session.Apart), []
    monkeypatch.setattr(one, "_run_all", lambda feeds: lots.append(len(feeds)) or feeds)
    half, little = (np.broadcast_to(np.float32(0), (count,)) for count in (1 << 21, 1))
    assert len(list(one.run_each([{"x": half}, {"x": half}, {"x": little}, {"x": half}]))) == 4
    assert lots == [3, 1]
