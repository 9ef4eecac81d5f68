"""How fast a GPU's clock ran while something was timed, and what held it back, as NVML says; on a Jetson tegrastats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.backends.tegrastats import TegrastatsReading, board, spans
from workbench.errors import BackendError

if TYPE_CHECKING:
    from workbench.backends.cudart import Cuda

__all__ = ["Clocks"]

SLOWED = {
    "SwPowerCap": "power limit",
    "SwThermalSlowdown": "temperature",
    "HwThermalSlowdown": "temperature",
    "HwPowerBrakeSlowdown": "power supply",
    "HwSlowdown": "hardware protection",
    "ApplicationsClocksSetting": "clocks set by somebody",
}
"""NVML's reasons for a clock below its highest, by the end of their names; not those of an idle GPU."""


class Clocks:
    """Readings of the GPU that CUDA uses, taken right behind a run, while the clock is still what it was.

    Without nvidia-ml-py, or where NVML cannot see the GPU, there are none, and `conditions` says why. A reading under
    load took 1.4 ms on an H200. On a Jetson there are its memory and power besides, of the whole board.

    Parameters
    ----------
    api
        The CUDA runtime whose first GPU is meant.
    """

    def __init__(self, api: Cuda) -> None:
        self.readings: list[dict[str, float]] = []
        self.slowed: set[str] = set()
        self._board = board()
        self._board_readings: list[TegrastatsReading] = []
        self._reason: str | None = None
        try:
            import pynvml

            pynvml.nvmlInit()
            self._nvml: Any = pynvml
            self._device = pynvml.nvmlDeviceGetHandleByPciBusId(api.bus_id())
        except ImportError:
            self._reason = "nvidia-ml-py is not installed"
        except (pynvml.NVMLError, BackendError) as error:
            self._reason = str(error)

    def read(self) -> None:
        """Take a reading."""
        shown = None if self._board is None else self._board.latest()
        if shown is not None:
            self._board_readings.append(shown)
        if self._reason is not None:
            return
        nvml, device = self._nvml, self._device
        try:
            bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(device)
            self.readings.append(
                {
                    "sm_clock_mhz": nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM),
                    "memory_clock_mhz": nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM),
                    "power_w": nvml.nvmlDeviceGetPowerUsage(device) / 1000,
                    "temperature_c": nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU),
                }
            )
        except nvml.NVMLError as error:
            self._reason = str(error)
            return
        reasons = ((getattr(nvml, f"nvmlClocksEventReason{name}"), why) for name, why in SLOWED.items())
        self.slowed |= {why for reason, why in reasons if bits & reason}

    def conditions(self) -> dict[str, Any]:
        """Return the lowest and the highest of each reading, and what held the clock back."""
        whole = {"board": spans(self._board_readings)} if self._board_readings else {}
        if not self.readings:
            return {"clocks": f"unknown: {self._reason or 'none was read'}", **whole}
        seen = {
            name: [min(reading[name] for reading in self.readings), max(reading[name] for reading in self.readings)]
            for name in self.readings[0]
        }
        return {"clocks": {**seen, "slowed_by": sorted(self.slowed), "readings": len(self.readings)}, **whole}
