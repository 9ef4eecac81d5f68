"""ONNX's own native code where it may crash: called in a helper process, whose death is one line.

onnx 1.23 ends the process with a segmentation fault where it infers the type of a DictVectorizer or a RegexFullMatch
that reads a tensor of unknown type, and its version converter where it comes across either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import onnx

from workbench import helper
from workbench.child import death

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FRAGILE", "NativeError", "check_model", "convert_version", "infer_shapes"]

T = TypeVar("T")

FRAGILE = ("DictVectorizer", "RegexFullMatch")
"""Operators whose type inference crashes where it is not told the type of what they read."""
_FRAGILE = tuple(name.encode() for name in FRAGILE)


class NativeError(RuntimeError):
    """What ONNX said in the helper, or that it died there."""


def infer_shapes(proto: onnx.ModelProto, **options: bool) -> onnx.ModelProto:
    """Infer shapes as `onnx.shape_inference.infer_shapes` does, in the helper where that may crash.

    Raises
    ------
    InferenceError, RuntimeError, ValueError
        As there; `NativeError` where it crashed.
    """
    content = proto.SerializeToString()
    if not any(name in content for name in _FRAGILE):
        return onnx.shape_inference.infer_shapes(proto, **options)
    return onnx.ModelProto.FromString(_elsewhere("shape inference", _infer, content, options))


def convert_version(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Convert a model as `onnx.version_converter.convert_version` does, in the helper.

    Raises
    ------
    NativeError
        The converter refuses it, or crashed.
    """
    return onnx.ModelProto.FromString(_elsewhere("converter", _convert, proto.SerializeToString(), version))


def check_model(model: bytes | str) -> None:
    """Check a model's message or file as `onnx.checker.check_model` does with type inference, in the helper.

    Raises
    ------
    NativeError
        It is not valid, or the checker crashed.
    """
    _elsewhere("checker", _check, model)


def _elsewhere(what: str, function: Callable[..., T], *arguments: object) -> T:
    try:
        result = helper.call(function, *arguments)
    except helper.HelperDiedError as error:
        raise NativeError(f"ONNX's {what} {death(error.code)}") from error
    except helper.NoHelperError:
        return function(*arguments)
    if isinstance(result, helper.Failed):
        raise NativeError(result.text)
    return result


def _infer(content: bytes, options: dict[str, Any]) -> bytes:
    return onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(content), **options).SerializeToString()


def _convert(content: bytes, version: int) -> bytes:
    return onnx.version_converter.convert_version(onnx.ModelProto.FromString(content), version).SerializeToString()


def _check(model: bytes | str) -> None:
    onnx.checker.check_model(model, full_check=True)
