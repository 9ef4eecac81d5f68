"""Files in, one `EngineReport` out: the graph, then what was measured of it, joined by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.engine.dialects import (
    DIALECTS,
    read_build,
    read_device,
    read_manifest,
    read_performance,
    read_profile,
    read_profile_log,
    read_text,
    read_timing,
    source_name,
    wrong_kind,
)
from workbench.engine.report import EngineReport, LayerTime
from workbench.errors import ReportError

__all__ = ["load_report", "with_metadata", "with_profile", "with_timing"]

_STRANGE_SHARE = 0.02
"""More than this share of a profile's time in layers the engine does not have means another engine's profile."""


def load_report(
    graph: Any,
    *,
    profile: Any = None,
    timing: Any = None,
    metadata: Any = (),
    name: str | None = None,
    tensorrt_version: str | None = None,
) -> EngineReport:
    """Read an engine's exports.

    Parameters
    ----------
    graph
        Inspector JSON (8.x, 10.x, 11.x) or text: a path, the JSON as an inspector returns it, or parsed.
    profile
        Per-layer times: a path (JSON or a profiler's log), JSON text, parsed JSON, or what a backend's `profile`
        returns (`LayerTime`).
    timing
        Whole-inference times: trtexec's, or TREx's performance summary.
    metadata
        Any of TREx's metadata files, or the manifest that `workbench bench` writes; one or several.
    name
        What to call the engine; the file's name without its suffixes otherwise.
    tensorrt_version
        The version that built it, where you know: the files do not tell.

    Raises
    ------
    ReportError
        A file is something else, truncated, or the profile of another engine.
    """
    kind, data = read_text(graph)
    where = source_name(graph)
    is_path = isinstance(graph, Path) or (isinstance(graph, str) and where == graph)
    called = name or (_plain(Path(graph).name) if is_path else "engine")
    dialect = DIALECTS.get(kind)
    if dialect is None or dialect.read is None:
        raise wrong_kind(kind, "graph", where)
    report = replace(dialect.read(data, called), tensorrt_version=tensorrt_version)
    if profile is not None:
        report = with_profile(report, profile)
    if timing is not None:
        report = with_timing(report, timing)
    files = metadata if isinstance(metadata, (list, tuple)) else (metadata,)
    for file in files:
        report = with_metadata(report, file)
    return report


def with_profile(report: EngineReport, profile: Any) -> EngineReport:
    """Give each layer its measured time, joined by name and never by position.

    Raises
    ------
    ReportError
        The profile is of another engine: layers that took time are not in this one.
    """
    kind, data = read_text(_rows(profile))
    where = source_name(profile)
    if kind not in {"profile", "profile-log"}:
        raise wrong_kind(kind, "profile", profile)
    count, times = read_profile_log(data, where) if kind == "profile-log" else read_profile(data, where)
    by_name: dict[str, list[LayerTime]] = {}
    for time in times:
        by_name.setdefault(time.name, []).append(time)
    notes = list(report.notes)
    _check_belongs(report, by_name, where, notes)
    occurrences = Counter(layer.name for layer in report.layers)
    layers = []
    for layer in report.layers:
        measured = by_name.get(layer.name)
        if measured is None:
            layers.append(replace(layer, time=None))
        elif len(measured) == occurrences[layer.name]:
            layers.append(replace(layer, time=measured.pop(0)))
            occurrences[layer.name] -= 1
        else:
            layers.append(replace(layer, time=_sum(measured)))
            by_name[layer.name] = [LayerTime(layer.name, 0.0, 0.0)]
            occurrences[layer.name] -= 1
            notes.append(f"layer {layer.name!r} has {len(measured)} times in the profile: they are added up")
    missing = [layer.name for layer in layers if layer.time is None]
    if missing:
        notes.append(f"{len(missing)} of {len(layers)} layers have no time in the profile, such as {missing[0]!r}")
    return replace(report, layers=tuple(layers), profile_count=count, notes=tuple(notes))


def with_timing(report: EngineReport, timing: Any) -> EngineReport:
    """Add the times of whole inferences.

    Raises
    ------
    ReportError
        The file is neither a timing export nor a performance summary.
    """
    kind, data = read_text(timing)
    where = source_name(timing)
    if kind == "timing":
        return replace(report, timing=read_timing(data, where))
    if kind == "performance":
        read, device, options = read_performance(data, where)
        return replace(report, timing=read, device={**report.device, **device}, build={**report.build, **options})
    raise wrong_kind(kind, "timing", timing)


def with_metadata(report: EngineReport, metadata: Any) -> EngineReport:
    """Add a metadata file: TREx's device, build options or performance summary, or a manifest of this workbench.

    Raises
    ------
    ReportError
        The file is none of them.
    """
    kind, data = read_text(metadata)
    if kind == "performance":
        return with_timing(report, metadata)
    if kind == "build":
        return replace(report, build={**report.build, **read_build(data)})
    if kind == "device":
        return replace(report, device={**report.device, **read_device(data)})
    if kind == "manifest":
        device, options, version = read_manifest(data)
        return replace(
            report,
            device={**report.device, **device},
            build={**report.build, **options},
            tensorrt_version=report.tensorrt_version or version,
        )
    raise wrong_kind(kind, "device", metadata)


def _rows(profile: Any) -> Any:
    """Put a backend's layer times into the shape of a profile file; leave anything else as it is."""
    if isinstance(profile, (list, tuple)) and profile and all(isinstance(time, LayerTime) for time in profile):
        return [{"name": t.name, "averageMs": t.mean_ms, "medianMs": t.median_ms} for t in profile]
    return profile


def _check_belongs(report: EngineReport, by_name: dict[str, list[LayerTime]], where: str, notes: list[str]) -> None:
    names = {layer.name for layer in report.layers}
    strange = [name for name in by_name if name not in names]
    if not strange:
        return
    total = sum(time.mean_ms for times in by_name.values() for time in times)
    spent = sum(time.mean_ms for name in strange for time in by_name[name])
    share = spent / total if total > 0 else len(strange) / len(by_name)
    if share <= _STRANGE_SHARE:
        notes.append(f"{len(strange)} layers of the profile are not in the engine ({share:.1%} of the time)")
        return
    missing = [name for name in names if name not in by_name]
    here = f"; this engine has {min(missing)!r} instead" if missing else ""
    raise ReportError(
        f"a profile of another engine: {len(strange)} of its {len(by_name)} layers, with {share:.0%} of its time, "
        f"are not in {report.name}, such as {strange[0]!r}{here}",
        where=where,
        fix="Profile this very engine: names change with every build",
    )


def _sum(times: list[LayerTime]) -> LayerTime:
    medians = [time.median_ms for time in times]
    measured = [value for value in medians if value is not None]
    whole = sum(measured) if len(measured) == len(medians) else None
    return LayerTime(times[0].name, sum(time.mean_ms for time in times), whole)


def _plain(file: str) -> str:
    for suffix in (".gz", ".json", ".log", ".txt", ".graph", ".engine", ".onnx"):
        file = file.removesuffix(suffix)
    return file or "engine"
