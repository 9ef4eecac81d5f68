"""The kernel as a C++ compiler for processors takes it: the same counting, one thread a block, in place of a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np

from workbench.calibration.counting import COUNTERS
from workbench.calibration.cuda.counter import LISTED
from workbench.calibration.cuda.layout import SEEN, KernelTuning, definitions, source

COMPILER = shutil.which("g++") or shutil.which("clang++")

RUN = """
extern "C" void run(unsigned blocks, const Tensor* tensors, u32 tiles, Seen* seen, u64* list, u32* listed, u32 most) {
    gridDim.x = blocks;
#if FLUSHED && defined(__SSE__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);  // subnormal operands and results are zero, as CuPy has it on a GPU
#endif
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) count(tensors, tiles, seen, list, listed, most);
#if FLUSHED && defined(__SSE__)
    _mm_setcsr(before);
#endif
}
"""


def compiled(folder: Path, *, shared: bool, flushed: bool = False):
    text = source().replace("extern __shared__ u32 shared[];", "")
    file, library = folder / "kernel.cc", folder / f"kernel{shared}{flushed}.so"
    file.write_text(f'#include "{Path(__file__).with_name("one_thread.h")}"\n{text}\n{RUN}')
    defined = [f"-D{name}={value}" for name, value in definitions(KernelTuning(1, 1, 2, shared=shared)).items()]
    defined.append(f"-DFLUSHED={int(flushed)}")
    warnings = ["-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function"]
    command = [COMPILER, "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", *warnings, *defined]
    done = subprocess.run([*command, file, "-o", library], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return ctypes.CDLL(str(library)).run


def pointer(array: np.ndarray):
    return ctypes.c_void_p(array.ctypes.data)


class OneThread:
    """What the counter runs on here; arrays are NumPy's."""

    tuning = KernelTuning(1, 1, 2)

    def __init__(self, run, count: int, blocks: int = 5) -> None:
        self._run, self._blocks = run, blocks
        self._counters = np.zeros((count, COUNTERS), np.uint64)

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def counters(self) -> int:
        return self._counters.ctypes.data

    def drain(self) -> np.ndarray:
        actual = self._counters.copy()
        self._counters[:] = 0
        return actual

    def start(self, message: np.ndarray, tiles: int):
        seen, listed = np.zeros(len(message) - 1, SEEN), np.zeros(1 + LISTED, np.uint64)
        places = (pointer(array) for array in (seen, listed[1:], listed))
        self._run(self._blocks, pointer(message), tiles, *places, LISTED)
        return seen, listed

    def seen(self, ticket) -> np.ndarray:
        return ticket[0]

    def listed(self, ticket, count: int) -> np.ndarray:
        return ticket[1][1 : 1 + count]
