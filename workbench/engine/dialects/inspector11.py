"""What TensorRT 11.x writes in place of `Bindings`: the documented `I/O Tensors`."""

from __future__ import annotations

from typing import Any

from workbench.engine.formats import parse_format, read_dims
from workbench.engine.report import Binding, OptimizationProfile
from workbench.errors import ReportError

__all__ = ["read_io_tensors"]


def read_io_tensors(raw: Any, where: str) -> tuple[list[Binding], tuple[OptimizationProfile, ...]]:
    """Return bindings and optimization profiles of an `I/O Tensors` list.

    Raises
    ------
    ReportError
        It is not a list of objects.
    """
    if not isinstance(raw, list) or not all(isinstance(entry, dict) for entry in raw):
        raise ReportError(
            "`I/O Tensors` is not a list of objects", where=where, fix="Export the layer information again"
        )
    bindings = []
    shapes: dict[int, dict[str, tuple[tuple[int, ...] | None, ...]]] = {}
    for entry in raw:
        name = str(entry.get("Name", ""))
        raw_profiles = entry.get("ProfileInfo")
        per_profile = (
            [info for info in raw_profiles if isinstance(info, dict)] if isinstance(raw_profiles, list) else []
        )
        form = next((str(info["Format"]) for info in per_profile if info.get("Format")), None)
        mode = str(entry["IOMode"]).lower() if entry.get("IOMode") else None
        dtype = entry.get("DataType") or entry.get("Datatype")
        bindings.append(
            Binding(name, mode, read_dims(entry.get("Dimensions")), parse_format(form, str(dtype) if dtype else None))
        )
        for index, info in enumerate(per_profile):
            shapes.setdefault(index, {})[name] = tuple(
                read_dims(info.get(f"{kind}Shape")) for kind in ("Min", "Opt", "Max")
            )
    profiles = tuple(
        OptimizationProfile(index, {name: (low, best, high) for name, (low, best, high) in by_name.items()})
        for index, by_name in sorted(shapes.items())
    )
    return bindings, profiles
