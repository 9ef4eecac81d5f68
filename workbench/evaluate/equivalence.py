"""Do two versions of a model compute the same? Both run on the same inputs, random ones where none are given."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from workbench.errors import BackendError, EditError
from workbench.evaluate.metrics import Difference
from workbench.graph import Tensor, costs, total
from workbench.graph.edits import TOLERANCE, Edit, Equivalence, Unchecked
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from workbench.graph import Model

    Arrays = Mapping[str, npt.NDArray[Any]]

__all__ = [
    "MOST_BYTES",
    "MOST_MACS",
    "MOST_NODES",
    "checked",
    "equivalence",
    "random_inputs",
    "too_costly",
]

COARSER = {"FLOAT16": 1e-2, "BFLOAT16": 5e-2}
"""The same for a model with numbers of these types, whose last digit is 2 ** -10 and 2 ** -7."""

MOST_NODES = 5_000
MOST_BYTES = 512 << 20
MOST_MACS = 10_000_000_000
"""Up to this size a model is run without being asked to: a second or two on a laptop's processor."""

_FREE_LENGTHS = (16, 64, 512)
"""Tried one after the other: some models cannot take a short sequence or a small image."""


def equivalence(
    before: Model,
    after: Model,
    inputs: Arrays | None = None,
    *,
    edit: Edit | None = None,
    seed: int = 0,
    free: int = _FREE_LENGTHS[0],
) -> Equivalence:
    """Run two versions of a model once on ONNX Runtime and compare the outputs of the second with the first's.

    Parameters
    ----------
    before, after
        The models.
    inputs
        Input name to array, batch axis included; seeded random numbers where left out, see `random_inputs`.
    edit
        What made `after`; it knows what has another name now and what is fed in another form.
    seed, free
        For random inputs.

    Raises
    ------
    BackendError
        They have no output in common, ONNX Runtime refuses one of them, or random numbers cannot be made.
    """
    step = edit or Edit(do="nothing")
    feeds = random_inputs(before, after=after, seed=seed, free=free) if inputs is None else dict(inputs)
    made = {str(value.name) for value in before.ir_model.graph.outputs}
    if edit is not None:  # what was inside may be an output now
        made |= {str(value.name) for node in before.top_nodes.values() for value in node.outputs}
    read = {tensor.name: step.origin(tensor.name) for tensor in _inputs(after)}
    results = [str(value.name) for value in after.ir_model.graph.outputs]
    common = {name: step.origin(name) for name in results if step.origin(name) in made}
    lacking = [name for name, was in read.items() if was not in feeds and was not in made]
    if not common or lacking:
        raise BackendError(
            f"input {lacking[0]!r} is new" if lacking else "no output has the name it had",
            where=after.name,
            fix="Compare models of one interface.",
        )
    wanted = list(dict.fromkeys([*common.values(), *(was for was in read.values() if was not in feeds)]))
    key = (
        None if inputs is not None else (seed, *((name, array.dtype.str, array.shape) for name, array in feeds.items()))
    )
    old = _kept_run(before, wanted, feeds, key)
    given = {name: step.fed(name, feeds[was] if was in feeds else old[was]) for name, was in read.items()}
    for tensor in _inputs(after):
        _fits(given[tensor.name], tensor)
    same = given.keys() == feeds.keys() and all(given[name] is array for name, array in feeds.items())
    new = _kept_run(after, list(common), given, key if same else None)
    pairs = {name: (old[was], new[name]) for name, was in common.items()}
    found = Equivalence(
        {name: _error(*pair) for name, pair in pairs.items()},
        "the inputs given" if inputs is not None else f"random inputs, seed {seed}" + _told(before, free),
        min((_sqnr(*pair) for pair in pairs.values()), default=math.inf),
        _tolerance(before),
        tuple(name for name, (array, _) in pairs.items() if not _finite(array).size),
    )
    if found.holds() or math.isinf(found.worst[1]):
        return found
    # A threshold in the model (a quantization step, a comparison, a sort) may turn the last digit into a jump.
    noise = {name: _nudged(array, found.allowed / 10) for name, array in feeds.items()}
    moved = Session(before, outputs=wanted).run(noise)
    own = max(_error(old[name], moved[name]) for name in common.values())
    return replace(found, allowed=max(found.allowed, own if math.isfinite(own) else 0.0))


def checked(edit: Edit, before: Model, after: Model, check: bool | Arrays | None = None) -> Equivalence | Unchecked:
    """Return how far an edit moved the outputs, or why that was not looked at.

    Parameters
    ----------
    edit, before, after
        The edit, its model, and what became of it.
    check
        ``None``: on seeded random inputs, where the edit claims that nothing moves, the model is not `too_costly` and
        ONNX Runtime can run it. ``True``: on random inputs in any case. A mapping: on these inputs. ``False``: never.

    Raises
    ------
    EditError
        An output moved by more than `Equivalence.allowed`.
    BackendError
        The check cannot run, and was asked for.
    """
    if check is False:
        return Unchecked("check=False was given")
    if (reason := edit.unchecked(before)) is not None:
        return Unchecked(reason)
    if isinstance(check, bool) or check is None:
        tried = _on_random_inputs(edit, before, after, asked=check is True)
        if isinstance(tried, Unchecked):
            return tried
        found = tried
    else:
        found = equivalence(before, after, check, edit=edit)
    if len(found.empty) == len(found.errors) and found.worst[1] == 0.0:
        return Unchecked(f"{found.inputs}: no output has a finite value to compare")
    if not found.holds():
        name, moved = found.worst
        raise EditError(
            f"{edit.title.lower()} would move output {name!r} by {moved:.2g} of its largest value",
            where=before.name,
            fix="The model is unchanged. If it is meant, edit with check=False.",
        )
    return found


def too_costly(model: Model, free: int = _FREE_LENGTHS[0]) -> str | None:
    """Return why a model is not run without being asked to; ``None`` where it is small enough.

    Bounds are `MOST_NODES`, `MOST_BYTES` of weights and `MOST_MACS`, as far as they are known; `free` as for
    `random_inputs`.
    """
    ask = "it is checked with check=True"
    if len(model.nodes) > MOST_NODES:
        return f"the model has {len(model.nodes)} nodes, over {MOST_NODES}; {ask}"
    size = sum(value.const_value.nbytes for value in model.initializers.values() if value.const_value is not None)
    if size > MOST_BYTES:
        return f"its weights are {size >> 20} MiB, over {MOST_BYTES >> 20}; {ask}"
    macs, _ = total(model, costs(model, _lengths(_inputs(model), (), free)))
    return f"one run takes {macs / 1e9:.0f} GMACs, over {MOST_MACS / 1e9:.0f}; {ask}" if macs > MOST_MACS else None


def random_inputs(
    model: Model, *, after: Model | None = None, seed: int = 0, free: int = _FREE_LENGTHS[0]
) -> dict[str, npt.NDArray[Any]]:
    """Return seeded random inputs: normal numbers for floats, 0 and 1 for integers, which are often indices.

    Of the axes without a length the first is 1 long and every other one `free`; a symbol has one length everywhere,
    ``past + 1`` the length of ``past`` and one more. Lengths that `after` states for the same input come before both.

    Raises
    ------
    BackendError
        The element type or the rank of an input is unknown, it holds no numbers, or the two models want it in
        different lengths.
    """
    generator = np.random.default_rng(seed)
    made: dict[str, npt.NDArray[Any]] = {}
    lengths = _lengths(_inputs(model), () if after is None else _inputs(after), free)
    for tensor in _inputs(model):
        dtype = tensor.numpy_dtype
        if tensor.shape is None or dtype is None or dtype.kind not in "fiub":
            raise BackendError("no random numbers can be made for it", where=tensor.name, fix="Give inputs.")
        shape = [axis if isinstance(axis, int) else lengths[str(axis)] for axis in tensor.shape]
        if dtype.kind in "iub":
            made[tensor.name] = generator.integers(0, 2, shape).astype(dtype)
        else:
            made[tensor.name] = generator.standard_normal(shape).astype(dtype)
    return made


def _inputs(model: Model) -> list[Tensor]:
    """Return the inputs as the file states them; `Model.inputs` would infer all shapes first."""
    values = [value for value in model.ir_model.graph.inputs if value.name not in model.initializers]
    return [
        Tensor(
            str(value.name),
            None if value.shape is None else tuple(n if isinstance(n, int) else n.value for n in value.shape),
            None if value.dtype is None else value.dtype.name,
        )
        for value in values
    ]


def _lengths(inputs: Iterable[Tensor], others: Iterable[Tensor], free: int) -> dict[str, int]:
    """Return a length for each symbol of some inputs, ``None`` among them as text."""
    stated = {tensor.name: tensor.shape or () for tensor in others}
    fixed: dict[str, int] = {}
    lengths: dict[str, int] = {}
    for tensor in inputs:
        other = stated.get(tensor.name, ())
        for place, axis in enumerate(tensor.shape or ()):
            if not isinstance(axis, int):
                lengths.setdefault(str(axis), free if place else 1)
                if len(other) == len(tensor.shape or ()) and isinstance(length := other[place], int):
                    fixed.setdefault(str(axis), length)
    lengths |= fixed
    for symbol in lengths:
        parts = [part.strip() for part in symbol.split("+")]
        if len(parts) > 1 and all(part.isdigit() or part in lengths for part in parts):
            lengths[symbol] = sum(int(part) if part.isdigit() else lengths[part] for part in parts)
    return lengths


def _on_random_inputs(edit: Edit, before: Model, after: Model, *, asked: bool) -> Equivalence | Unchecked:
    """Compare on random inputs, with longer free axes where the model cannot work with short ones."""
    refused: BackendError | None = None
    for free in _FREE_LENGTHS if _has_free_axes(before) else _FREE_LENGTHS[:1]:
        reason = None if asked else too_costly(before, free)
        if reason is not None:
            return Unchecked(reason)
        try:
            return equivalence(before, after, edit=edit, free=free)
        except BackendError as error:
            refused = refused or error
    if refused is None or asked:
        raise refused or BackendError("there are no inputs to make")
    return Unchecked(f"{refused.what} ({refused.where or 'on random inputs'})")


def _has_free_axes(model: Model) -> bool:
    return any(not isinstance(length, int) for tensor in _inputs(model) for length in (tensor.shape or ())[1:])


def _told(model: Model, free: int) -> str:
    return f", free axes {free} long" if _has_free_axes(model) else ""


def _fits(array: npt.NDArray[Any], tensor: Tensor) -> None:
    for have, wanted in zip(array.shape, tensor.shape or array.shape, strict=False):
        if isinstance(wanted, int) and wanted != have:
            raise BackendError(f"input {tensor.name!r} has an axis of {have} before and of {wanted} after it")


def _kept_run(model: Model, outputs: list[str], feeds: Arrays, key: object | None) -> Arrays:
    """Run a model; on random inputs what the newest one gave is kept, for the next edit's check starts from it."""
    known = _RAN.get(model)
    if key is not None and known is not None and known[0] == key and set(outputs) <= known[1].keys():
        return known[1]
    results = Session(model, outputs=outputs).run(feeds)
    if key is not None:
        _RAN.clear()
        _RAN[model] = key, results
    return results


_RAN: WeakKeyDictionary[Model, tuple[object, Arrays]] = WeakKeyDictionary()


def _tolerance(model: Model) -> float:
    values = [*model.initializers.values(), *(value for node in model.nodes.values() for value in node.outputs)]
    types = {value.dtype.name for value in values if value.dtype is not None}
    return max([COARSER[name] for name in types & COARSER.keys()], default=TOLERANCE)


def _nudged(array: npt.NDArray[Any], share: float) -> npt.NDArray[Any]:
    return (array * (1 + share)).astype(array.dtype) if array.dtype.kind == "f" else array


def _finite(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[np.isfinite(array)] if array.dtype.kind == "f" else array


def _sqnr(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> float:
    seen = Difference()
    if old.shape != new.shape or old.dtype.kind != "f" or new.dtype != old.dtype:
        return math.inf
    seen.update(old, new)
    return math.inf if math.isnan(seen.sqnr) else seen.sqnr


def _error(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> float:
    if old.shape != new.shape or old.dtype != new.dtype:
        return math.inf
    seen = Difference()
    seen.update(old, new)
    if not seen.floating:
        return seen.differing / max(seen.elements, 1)
    if seen.nonfinite:
        return math.inf
    largest = float(np.abs(_finite(old).astype(np.float64)).max(initial=0.0))
    return seen.max_error / largest if largest else (math.inf if seen.max_error else 0.0)
