"""Weights put back into an engine that was written without them, or others put in: TensorRT's refitter of ONNX files.

What the manifest can tell is told before anything is loaded; which weights an engine takes, only TensorRT knows. It
does all of this on a GPU.
"""

from __future__ import annotations

import hashlib
import importlib
from typing import TYPE_CHECKING, Any

from workbench.backends.manifest import tensors_of
from workbench.backends.tensorrt.context import EngineFile
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.graph import Model

__all__ = ["check_weights", "refit_file", "refitted_manifest"]


def check_weights(manifest: Mapping[str, Any], model: Model) -> None:
    """Check that an engine takes the weights of a model, as far as its manifest tells.

    An engine that was built with ``strip`` alone takes back its own weights and no others: TensorRT computed with
    their values while it built. One that was built with ``refit`` takes those of any model of the same graph.

    Raises
    ------
    BackendError
        It does not, with the reason.
    """
    if manifest.get("trusted"):
        return
    where = f"engine of {manifest.get('model')}"
    options = manifest.get("options") or {}
    if not options.get("refit") and not options.get("strip"):
        raise BackendError(
            "it holds its weights, and was not built to take others",
            where=where,
            fix="Run it without weights, or build it with refit.",
        )
    if manifest.get("model_sha256") == model.digest:
        return
    if not options.get("refit"):
        raise BackendError(
            f"it takes back the weights that it was built with, and those of {model.name} are others",
            where=where,
            fix="Give the ONNX file that it was built from (tuned.onnx), or build it with refit too.",
        )
    if any(manifest.get(part) != tensors_of(getattr(model, part)) for part in ("inputs", "outputs")):
        raise BackendError(
            f"{model.name} has other inputs or outputs than the engine",
            where=where,
            fix="Give a model of the same graph, with other weights.",
        )


def refit_file(module: str, path: str, model: str) -> bytes:
    """Return a stored engine with the weights of an ONNX file in it. Runs inside a child process.

    Raises
    ------
    BackendError
        This version has no refitter of ONNX files, or that refuses; there is no GPU.
    """
    trt: Any = importlib.import_module(module)
    if not hasattr(trt, "OnnxParserRefitter"):
        raise BackendError(
            f"{module} {trt.__version__} cannot read weights out of an ONNX file",
            fix="The full runtime of TensorRT 10 and newer can; else build an engine of that file.",
        )
    stored = EngineFile(module, path)
    refitter = trt.Refitter(stored.engine, stored.logger)
    parser = trt.OnnxParserRefitter(refitter, stored.logger)
    if not parser.refit_from_file(model):
        reasons = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        raise BackendError(
            f"TensorRT refused the weights: {'; '.join(reasons) or stored.last_error}",
            fix="Give the ONNX file that the engine was built from.",
        )
    missing = [str(name) for name in refitter.get_missing_weights()]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise BackendError(
            f"the file has no weights for {shown}", fix="Give the ONNX file that the engine was built from."
        )
    if not refitter.refit_cuda_engine():
        raise BackendError(f"TensorRT could not put the weights in: {stored.last_error}", fix="Build it again.")
    config = stored.engine.create_serialization_config()
    config.clear_flag(trt.SerializationFlag.EXCLUDE_WEIGHTS)
    return bytes(stored.engine.serialize_with_config(config))


def refitted_manifest(manifest: Mapping[str, Any], data: bytes, model: Model) -> dict[str, Any]:
    """Describe an engine that was refitted: it holds the weights of the model, and takes no others."""
    return {
        **manifest,
        "engine_sha256": hashlib.sha256(data).hexdigest(),
        "engine_bytes": len(data),
        "model": model.name,
        "model_sha256": model.digest,
        "options": {**(manifest.get("options") or {}), "strip": False, "refit": False},
        "refitted": True,
    }
