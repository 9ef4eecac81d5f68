"""ONNX Runtime on the CPU: the embedded backend, which runs everywhere."""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.child import ChildError
from workbench.errors import BackendError
from workbench.graph import fits_one_file, is_stripped
from workbench.runtime import as_written
from workbench.runtime.blocked import BLOCKS, blocked_session
from workbench.runtime.bodies import borrows_weights, with_copies
from workbench.runtime.borders import border_types, bordered, in_numbers
from workbench.runtime.bytes import output_names, serialized, without_weights
from workbench.runtime.constants import check_constants
from workbench.runtime.device import CPU, current_device
from workbench.runtime.first_run import NO_PREPACKING, NO_SPINNING, Apart, FirstRun, attempt
from workbench.runtime.narrow import BF16, NARROW, has_narrow, in_float32
from workbench.runtime.opsets import OLDEST_OPSET

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt
    import onnx_ir as ir

    from workbench.graph import Model

__all__ = ["Mode", "Session", "disabled_optimizers", "first_line", "in_one_array", "usable_cores"]

LARGE_BYTES = 1 << 24
"""Weights from which a model is not written into one message, only to be read out of it again."""
HUGE_BYTES = 1 << 28
"""Weights from which memory counts for more than the speed of single runs."""

Mode = Literal["numerics", "speed"]

_FILE = r"(?:[\w.:-]*[/\\])+\w+\.(?:cc|cpp|cu|cuh|h|hpp):\d+ "
_FUNCTION = r"(?=[^()]*::)[^()]+\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[with [^\]]*\])?(?:::<lambda\([^()]*\)>)* "
_SOURCE = re.compile(rf"{_FILE}(?:{_FUNCTION})?|\blocale::[\w:]+ ")
"""Where in ONNX Runtime's source something is said, which helps nobody who reads it."""

TOGETHER_BYTES = 16 << 20
"""What is fed at once to a session apart."""


class Session:
    """A model ready to run.

    Parameters
    ----------
    model
        What to run.
    mode
        ``numerics``: the graph is computed as written, which is the arithmetic that TensorRT's INT8 approximates; use
        it for accuracy. What ONNX Runtime may not do is in `workbench.runtime.as_written`; FP16 and BF16 are computed
        in FP32 with every result rounded, see `workbench.runtime.narrow`.
        ``speed``: all of ONNX Runtime's optimizations; use it for timing on this processor. Only BF16, for which it has
        no kernels, is computed in FP32 and rounded.
    outputs
        Names of tensors to return; the model's outputs where left out. Tensors inside are made outputs.
    observing
        For looking into many tensors, none of them a sequence or text: they are handed over without a copy, and ONNX
        Runtime's threads leave the processor to others between two runs.
    any_order
        Outputs whose values may come in any order within a sample, the shape kept; for many runs of an observing
        session, which then takes longer to make. See `workbench.runtime.blocked`.
    untried
        Inputs for a graph that was never run: it is tried on them in another process first.
    apart
        How often a graph is run that was never run, and is thrown away then: all of it happens in that process.
    stream
        The CUDA stream that a session for `enqueue` uses.

    Numbers are computed on the device of `workbench.runtime.on_device`; speed is measured on the processor.

    Raises
    ------
    BackendError
        ONNX Runtime refuses the model; the message has its reason. `workbench.child.ChildError` where it crashed.
    """

    def __init__(
        self,
        model: Model,
        *,
        mode: Mode = "numerics",
        outputs: Sequence[str] | None = None,
        observing: bool = False,
        any_order: Collection[str] = (),
        untried: Mapping[str, npt.NDArray[Any]] | None = None,
        apart: int = 0,
        stream: int | None = None,
    ) -> None:
        _refuse_stripped(model)
        entries = dict(as_written.options()) if mode == "numerics" else {}
        self.device = current_device() if mode == "numerics" else CPU
        self._looking, self._observing = observing, observing and self.device == CPU
        if observing:
            entries[NO_SPINNING] = "0"
        self.outputs = list(outputs) if outputs is not None else output_names(model)
        self._writes_inputs = any(_is_training(node) for node in model.nodes.values())
        disabled = disabled_optimizers(model, mode)
        rounded = NARROW if mode == "numerics" else {BF16}
        self._own_types = border_types(model, self.outputs)
        if has_narrow(model, rounded):
            # Only of a graph that is tried elsewhere: what is made of constants is limited for all others.
            stay = mode == "numerics" and not observing and untried is not None and _is_huge(model)
            model = in_float32(model, rounded, keep=self.outputs, weights_stay=stay)
        model = with_copies(bordered(model, self.outputs))
        weights_of = [value.const_value for value in model.initializers.values() if value.const_value is not None]
        large = sum(weight.nbytes for weight in weights_of) >= LARGE_BYTES
        huge = _is_huge(model)
        self.thrifty = huge
        """Whether the model is so large that memory counts for more than time."""
        if huge and mode == "numerics" and not observing:
            # The one keeps a second copy of every weight, the others of each that is dequantized, or was FP16.
            entries[NO_PREPACKING] = "1"
            disabled = [*disabled, "ConstantFolding", "FuseFp16InitializerToFp32NodeTransformer"]
        beside = observing or large or not fits_one_file(model)
        content, weights = without_weights(model, self.outputs) if beside else (serialized(model, self.outputs), {})
        trial = FirstRun(content, entries, disabled, self.outputs, weights, self.device.providers(stream), thrifty=huge)
        if untried is not None and not apart:
            attempt(trial, {name: in_numbers(array) for name, array in untried.items()}, model.name)
        elif not apart:
            check_constants(model)
        threads = usable_cores()
        try:
            if apart:
                self._session: Any = Apart(trial, threads, model.name, runs=apart)
            else:
                self._open(trial, threads, any_order)
        except ChildError:
            raise
        except Exception as error:  # ONNX Runtime raises many kinds, none of them public
            raise BackendError(
                f"ONNX Runtime refuses it: {first_line(error)}", where=model.name, fix=_what_helps(model)
            ) from error

    def _open(self, trial: FirstRun, threads: int, any_order: Collection[str]) -> None:
        """Make ONNX Runtime's session, and keep what it needs: weights that lie beside the message are read there."""
        self._called: dict[str, str] = {}
        if any_order and self._observing and not self.thrifty and BLOCKS not in trial.disabled:
            # Where there is no room for a file, or a version does not read what it wrote, the other way is slower.
            with contextlib.suppress(Exception):
                self._session, self._weights, self._called = blocked_session(trial, threads, any_order)
                return
        # What is handed out is no part of a pattern; planning one costs the second run new memory for all.
        self._session, self._weights = trial.session(threads, memory_pattern=not self._looking)

    def run(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run once.

        Parameters
        ----------
        arrays
            Input name to array, batch axis included.

        Returns
        -------
        dict
            Output name to array; see `in_one_array` for outputs that are none.

        Raises
        ------
        BackendError
            ONNX Runtime fails; the message has its reason.
        """
        if not self.outputs:
            return {}  # ONNX Runtime would take an empty list for all of them
        with _one_line():
            fed = self._fed(arrays)
            return self._named(self._where_they_are(fed) if self._observing else self._session.run(self.outputs, fed))

    def run_each(self, feeds: Iterable[Mapping[str, npt.NDArray[Any]]]) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Run once a feed; as `run`, and of a session apart several at once."""
        waiting: list[Mapping[str, npt.NDArray[Any]]] = []
        for arrays in feeds:
            waiting.append(arrays)
            size = sum(array.nbytes for fed in waiting for array in fed.values())
            if not isinstance(self._session, Apart) or size > TOGETHER_BYTES:
                yield from self._run_all(waiting)
                waiting = []
        yield from self._run_all(waiting)

    def _run_all(self, feeds: Sequence[Mapping[str, npt.NDArray[Any]]]) -> list[dict[str, npt.NDArray[Any]]]:
        if not isinstance(self._session, Apart) or not self.outputs or not feeds:
            return [self.run(arrays) for arrays in feeds]
        with _one_line():
            results = self._session.run_all(self.outputs, [self._fed(arrays) for arrays in feeds])
        return [self._named(result) for result in results]

    def _fed(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        fed = {name: in_numbers(array) for name, array in arrays.items()}
        return {name: array.copy() for name, array in fed.items()} if self._writes_inputs else fed

    def _named(self, results: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
        arrays = dict(zip(self.outputs, map(in_one_array, results), strict=True))
        return arrays | {name: arrays[name].astype(dtype) for name, dtype in self._own_types.items()}

    def _where_they_are(self, arrays: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Run once, and return the tensors where ONNX Runtime left them: a tenth faster where there are many.

        By values: a binding costs up to a tenth of such a run more.
        """
        asked = [self._called.get(name, name) for name in self.outputs]
        if any(array.dtype.kind in "OSU" for array in arrays.values()):  # text, of which no value can be made
            results: list[npt.NDArray[Any]] = self._session.run(asked, dict(arrays))
            return results
        from onnxruntime import OrtValue

        values = {name: OrtValue.ortvalue_from_numpy(np.asarray(array, order="C")) for name, array in arrays.items()}
        return [value.numpy() for value in self._session.run_with_ort_values(asked, values)]

    def enqueue(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Start a run on the GPU without waiting for it.

        Parameters
        ----------
        inputs
            Input name to CuPy array, ready when the session's stream comes to it.

        Returns
        -------
        dict
            Output name to ONNX Runtime's value on the device, which must be kept until it was read.

        Raises
        ------
        BackendError
            ONNX Runtime fails; the message has its reason.
        """
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        with _one_line():
            binding = self._session.io_binding()
            for name, array in inputs.items():
                binding.bind_input(name, *self.device.memory, array.dtype, array.shape, array.data.ptr)
            for name in self.outputs:
                binding.bind_output(name, *self.device.memory)
            self._session.run_with_iobinding(binding, options)
            return dict(zip(self.outputs, binding.get_outputs(), strict=True))

    def time(self, arrays: Mapping[str, npt.NDArray[Any]], *, runs: int = 50, warmup: int = 5) -> list[float]:
        """Time single runs.

        Parameters
        ----------
        arrays
            The inputs of every run.
        runs, warmup
            How many runs are timed, and how many come before them.

        Returns
        -------
        list of float
            Wall time of each run in milliseconds. The processor's speed says nothing about a GPU's.
        """
        feed = {name: in_numbers(array) for name, array in arrays.items()}
        for _ in range(warmup):
            self._session.run(self.outputs, feed)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            self._session.run(self.outputs, feed)
            times.append((time.perf_counter() - start) * 1e3)
        return times


def _is_huge(model: Model) -> bool:
    """Say whether memory counts for more than time: by the weights as they are once they are dequantized."""
    weights = (value.const_value for value in model.initializers.values() if value.const_value is not None)
    return 4 * sum(weight.size for weight in weights) >= HUGE_BYTES


def usable_cores() -> int:
    """Return how many of the processor's cores this process may use: a worker beside others has its share."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Make one line of whatever ONNX Runtime raises while it runs."""
    try:
        yield
    except ChildError:
        raise
    except Exception as error:
        raise BackendError(
            f"ONNX Runtime fails: {first_line(error)}", fix="Check the samples' shapes and values."
        ) from error


def disabled_optimizers(model: Model, mode: Mode = "speed") -> list[str]:
    """Return the optimizations that ONNX Runtime must not apply to a model."""
    return as_written.optimizers_off(
        numerics=mode == "numerics", narrow=has_narrow(model), bodies=borrows_weights(model)
    )


def _refuse_stripped(model: Model) -> None:
    name = next((n for n, v in model.initializers.items() if v.const_value and is_stripped(v.const_value)), None)
    if name is not None:
        raise BackendError(
            f"weight {name!r} has no content, so the model cannot run",
            where=model.name,
            fix="Put the weights back: wb.edit('restore_weights', source=FILE).",
        )


def in_one_array(value: Any) -> npt.NDArray[Any]:
    """Return a result of ONNX Runtime as one array, so that it can be compared like a tensor.

    A sequence becomes an array with one more axis in front, or a flat one of all its numbers where its parts differ in
    shape; a map the values in the order of its keys; an optional that holds nothing an empty array.
    """
    if isinstance(value, np.ndarray):
        return value
    if value is None:
        return np.zeros(0, np.float32)
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if not isinstance(value, list):
        return np.asarray(value)
    parts = [in_one_array(part) for part in value]
    if not parts:
        return np.zeros(0, np.float32)
    alike = len({(part.shape, part.dtype) for part in parts}) == 1
    return np.stack(parts) if alike else np.concatenate([part.ravel() for part in parts])


def _what_helps(model: Model) -> str:
    if 0 < model.opset < OLDEST_OPSET:
        return "Bring it to a newer operator set: wb.prepare(), or wb.edit('convert_opset', version=13)."
    return "Repair or replace the named node; an operator of a custom domain needs its own library."


def _is_training(node: ir.Node) -> bool:
    """Say whether a node keeps running statistics: ONNX Runtime 1.32 writes those into the caller's own arrays."""
    return node.op_type == "BatchNormalization" and bool(node.attributes.get_int("training_mode", 0))


def first_line(error: Exception) -> str:
    """Return what ONNX Runtime says of a failure, shortened, and without the place in its source that says so."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = _SOURCE.sub("", lines[0] if lines else type(error).__name__)
    return text if len(text) <= 300 else f"{text[:297]}..."
