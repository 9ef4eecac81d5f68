"""What this workbench writes beside an engine: where it was built and timed, and how fast the GPU's clock ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["clocks_text", "read_manifest"]

_READINGS = (
    ("sm_clock_mhz", "SM", "MHz"),
    ("memory_clock_mhz", "memory", "MHz"),
    ("power_w", "power", "W"),
    ("temperature_c", "temperature", "°C"),
)


def read_manifest(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Return the device, the build and the version of the library of an engine's manifest.

    Where the engine was timed the device has its clocks too, as `clocks_text` says them.
    """
    described, options, timing = (data.get(key) for key in ("device", "options", "timing"))
    device: dict[str, Any] = {}
    if isinstance(described, dict) and described.get("name"):
        device["Selected Device"] = described["name"]
    conditions = timing.get("conditions") if isinstance(timing, dict) else None
    clocks = clocks_text(conditions.get("clocks")) if isinstance(conditions, dict) else None
    if clocks is not None:
        device["Clocks"] = clocks
    version = data.get("version")
    return device, dict(options) if isinstance(options, dict) else {}, version if isinstance(version, str) else None


def clocks_text(clocks: Any) -> str | None:
    """Say between which bounds clocks, power and temperature were, and what held the clock back.

    Parameters
    ----------
    clocks
        The lowest and the highest of each reading, as a timing's conditions have them; or why there are none.
    """
    if not isinstance(clocks, dict):
        return clocks if isinstance(clocks, str) else None
    parts = [f"{name} {_span(clocks[key])} {unit}" for key, name, unit in _READINGS if _is_span(clocks.get(key))]
    slowed = clocks.get("slowed_by")
    held = f"; held back by {', '.join(map(str, slowed))}" if isinstance(slowed, list) and slowed else ""
    return f"{', '.join(parts)}{held}" if parts else None


def _is_span(reading: Any) -> bool:
    return isinstance(reading, list) and len(reading) == 2 and all(isinstance(one, (int, float)) for one in reading)


def _span(reading: list[float]) -> str:
    low, high = reading
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"
