"""ONNX Runtime on the CPU: the embedded backend, which runs everywhere."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import BackendError
from workbench.graph import fits_one_file
from workbench.runtime.bfloat16 import has_bfloat16, in_float32
from workbench.runtime.bytes import output_names, serialized, without_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from workbench.graph import Model

__all__ = ["Session", "disabled_optimizers", "first_line"]

BROKEN_OVER_CASTS = ["LayerNormFusion", "LayerNormFusionL1", "LayerNormFusionL2"]
"""Optimizations that make an invalid graph of a normalization in FP32 behind a Cast from FP16 (seen in 1.32)."""

Mode = Literal["numerics", "speed"]


class Session:
    """A model ready to run.

    Parameters
    ----------
    model
        What to run.
    mode
        ``numerics``: Q/DQ pairs are computed as written, which is the arithmetic that TensorRT's INT8 approximates; use
        it for accuracy. Fused integer kernels may saturate on processors without VNNI and differ.
        ``speed``: all of ONNX Runtime's optimizations; use it for timing on this processor.
        BF16, for which it has no kernels on a processor, is computed in FP32 and rounded; see
        `workbench.runtime.bfloat16`.
    outputs
        Names of tensors to return; the model's outputs where left out. Tensors inside are made outputs.
    observing
        For looking into many tensors, none of them a sequence or text: they are handed over without a copy, and ONNX
        Runtime's threads leave the processor to others between two runs.

    Raises
    ------
    BackendError
        ONNX Runtime refuses the model; the message has its reason.
    """

    def __init__(
        self, model: Model, *, mode: Mode = "numerics", outputs: Sequence[str] | None = None, observing: bool = False
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is fatal is raised; the rest is noise on a user's screen
        options.intra_op_num_threads = os.cpu_count() or 1
        if mode == "numerics":
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._observing = observing
        if observing:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            # What is handed out is no part of a pattern; planning one costs the second run new memory for everything.
            options.enable_mem_pattern = False
        if has_bfloat16(model):
            model = in_float32(model)
        self.outputs = list(outputs) if outputs is not None else output_names(model)
        if observing or not fits_one_file(model):
            content, weights = without_weights(model, self.outputs)
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
            options.add_external_initializers(list(weights), values)
            self._weights = values  # ONNX Runtime reads them where they are
        else:
            content = serialized(model, self.outputs)
        try:
            self._session = onnxruntime.InferenceSession(
                content,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=disabled_optimizers(model),
            )
        except Exception as error:  # ONNX Runtime raises many kinds, none of them public
            raise BackendError(
                f"ONNX Runtime refuses it: {first_line(error)}",
                where=model.name,
                fix="Repair or replace the named node; an operator of a custom domain needs its own library.",
            ) from error

    def run(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run once.

        Parameters
        ----------
        arrays
            Input name to array, batch axis included.

        Returns
        -------
        dict
            Output name to array.

        Raises
        ------
        BackendError
            ONNX Runtime fails; the message has its reason.
        """
        if not self.outputs:
            return {}  # ONNX Runtime would take an empty list for all of them
        try:
            results = self._bound(arrays) if self._observing else self._session.run(self.outputs, dict(arrays))
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime fails: {first_line(error)}", fix="Check the samples' shapes and values."
            ) from error
        return dict(zip(self.outputs, results, strict=True))

    def _bound(self, arrays: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Run once, and return the tensors where ONNX Runtime left them: a tenth faster where there are many."""
        if any(array.dtype.kind in "OSU" for array in arrays.values()):  # text, which cannot be bound
            results: list[npt.NDArray[Any]] = self._session.run(self.outputs, dict(arrays))
            return results
        binding = self._session.io_binding()
        for name, array in arrays.items():
            binding.bind_cpu_input(name, array if array.flags.c_contiguous else array.copy())
        for name in self.outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        return [value.numpy() for value in binding.get_outputs()]

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
        feed = dict(arrays)
        for _ in range(warmup):
            self._session.run(self.outputs, feed)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            self._session.run(self.outputs, feed)
            times.append((time.perf_counter() - start) * 1e3)
        return times


def disabled_optimizers(model: Model) -> list[str] | None:
    """Return the optimizations that ONNX Runtime must not apply to a model; None for none."""
    half = any("FLOAT16" in str(value.dtype) for node in model.nodes.values() for value in node.outputs)
    return BROKEN_OVER_CASTS if half else None


def first_line(error: Exception) -> str:
    """Return what ONNX Runtime says of a failure, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
