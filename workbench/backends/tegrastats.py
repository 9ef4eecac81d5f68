"""Memory, power and temperature of a Jetson, as its program ``tegrastats`` prints them.

A Jetson has one memory for processor and GPU, and NVML knows neither its power nor its memory. `tegrastats` prints a
line an interval; its form is that of NVIDIA's Jetson Linux developer guide. **Nothing of this was run on a Jetson.**
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import weakref
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import IO

__all__ = ["Board", "TegrastatsReading", "board", "parse_line", "spans"]

INTERVAL_MS = 100
LONGEST_LINE = 1 << 14

MEMORY = re.compile(r"\bRAM (\d+)/(\d+)MB\b")
GPU = re.compile(r"\bGR3D_FREQ (\d+)%(?:@\[?(\d+))?")
TEMPERATURE = re.compile(r"\b([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C\b")
# RAM, SWAP and IRAM look alike, but end in MB or kB.
RAIL = re.compile(r"(?<!\S)([A-Z]\w*) (\d+)(?:mW)?/(\d+)(?:mW)?(?!\S)")
UNPOWERED_C = -100.0
"""Sensors of what is switched off read about -256 degrees."""


@dataclass(frozen=True)
class TegrastatsReading:
    """One line.

    Attributes
    ----------
    ram_mb, ram_total_mb
        Memory in use, and all there is, of processor and GPU together, in megabytes.
    power_mw
        Rail to what it takes at the moment, in milliwatts.
    temperature_c
        Sensor to degrees Celsius; without those of what is switched off.
    gpu_percent, gpu_mhz
        Load of the GPU relative to its clock, and the clock of its first cluster; ``None`` where it is not printed.
    """

    ram_mb: int
    ram_total_mb: int
    power_mw: Mapping[str, int] = field(default_factory=dict)
    temperature_c: Mapping[str, float] = field(default_factory=dict)
    gpu_percent: int | None = None
    gpu_mhz: int | None = None


def parse_line(line: str) -> TegrastatsReading | None:
    """Read a line of tegrastats; ``None`` where it is none.

    Rails are printed as ``VDD_IN 4566mW/4520mW``, by older releases without a unit: at the moment, and on average since
    the program began, which is left out.
    """
    memory = MEMORY.search(line)
    if memory is None:
        return None
    gpu = GPU.search(line)
    warm = ((name, float(degrees)) for name, degrees in TEMPERATURE.findall(line))
    return TegrastatsReading(
        ram_mb=int(memory[1]),
        ram_total_mb=int(memory[2]),
        power_mw={name: int(now) for name, now, _ in RAIL.findall(line)},
        temperature_c={name: degrees for name, degrees in warm if degrees > UNPOWERED_C},
        gpu_percent=None if gpu is None else int(gpu[1]),
        gpu_mhz=None if gpu is None or gpu[2] is None else int(gpu[2]),
    )


class Board:
    """A running tegrastats, and the last line that it printed.

    Parameters
    ----------
    program
        Its path.
    """

    def __init__(self, program: str) -> None:
        self._latest: TegrastatsReading | None = None
        self._first = threading.Event()
        self._process = subprocess.Popen(  # noqa: S603 - the system's own program
            [program, "--interval", str(INTERVAL_MS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.close = weakref.finalize(self, self._process.kill)
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - asked for above
        threading.Thread(target=_follow, args=(weakref.ref(self), stream), daemon=True).start()

    def latest(self, patience_s: float = 2.0) -> TegrastatsReading | None:
        """Return the last line, at most an interval old; waits for the first one, ``None`` where none comes."""
        self._first.wait(patience_s)
        return self._latest

    def _take(self, reading: TegrastatsReading) -> None:
        self._latest = reading
        self._first.set()


def _follow(board: weakref.ref[Board], stream: IO[str]) -> None:
    # It must not keep the board alive, or nothing would end the program.
    for line in iter(lambda: stream.readline(LONGEST_LINE), ""):
        reading, alive = parse_line(line), board()
        if alive is None:
            return
        if reading is not None:
            alive._take(reading)  # noqa: SLF001 - its own thread
        del alive


@cache
def board() -> Board | None:
    """Return this process's tegrastats, started when it is first asked for; ``None`` where there is none."""
    program = shutil.which("tegrastats")
    if program is None:
        return None
    try:
        return Board(program)
    except OSError:
        return None


def spans(readings: Iterable[TegrastatsReading]) -> dict[str, Any]:
    """Return the lowest and the highest of what lines said, and how many there were."""
    seen = list(readings)

    def span(values: Iterable[float]) -> list[float]:
        numbers = list(values)
        return [min(numbers), max(numbers)]

    def by_name(each: list[Mapping[str, float]]) -> dict[str, list[float]]:
        return {
            name: span(one[name] for one in each if name in one) for name in dict.fromkeys(n for o in each for n in o)
        }

    loads = [one.gpu_percent for one in seen if one.gpu_percent is not None]
    return {
        "ram_mb": span(one.ram_mb for one in seen),
        "ram_total_mb": seen[-1].ram_total_mb,
        "power_mw": by_name([one.power_mw for one in seen]),
        "temperature_c": by_name([one.temperature_c for one in seen]),
        **({"gpu_percent": span(loads)} if loads else {}),
        "readings": len(seen),
        "from": f"tegrastats, every {INTERVAL_MS} ms: the whole board, processor and GPU together",
    }
