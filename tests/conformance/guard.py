"""Runs cases in children with a time limit; a child that dies costs one case."""

from __future__ import annotations

import json
import os
import pickle
import selectors
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conformance.steps import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.conformance.cases import Case

ROOT = Path(__file__).parents[2]


class Guard:
    """Children, one a thread, each started again when it died.

    Parameters
    ----------
    seconds
        What one model may take.
    compile_too
        Whether TensorRT-RTX's compiler is asked as well.
    """

    def __init__(self, *, seconds: float = 120.0, compile_too: bool = False) -> None:
        self.seconds, self.compile_too = seconds, compile_too
        self._local = threading.local()
        self._started: list[subprocess.Popen[bytes]] = []

    def examine(self, cases: Sequence[Case], processes: int) -> Iterator[tuple[Case, list[Outcome]]]:
        """Yield each case with what was found, in the order of the cases."""
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder, ThreadPoolExecutor(processes) as pool:
            try:
                actual = pool.map(lambda numbered: self._one(Path(folder), *numbered), enumerate(cases))
                yield from zip(cases, actual, strict=True)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in self._started:
                    child.kill()
                    child.wait()

    def _one(self, folder: Path, number: int, case: Case) -> list[Outcome]:
        path = folder / f"{number}.pickle"
        path.write_bytes(pickle.dumps(case))
        child = self._child()
        order = json.dumps({"path": str(path), "compile_too": self.compile_too}) + "\n"
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(order.encode())
        child.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(child.stdout, selectors.EVENT_READ)
            ready = waiting.select(self.seconds)
        value = child.stdout.readline() if ready else b""
        path.unlink()
        if value:
            return [Outcome(**one) for one in json.loads(value)]
        child.kill()
        code = child.wait()
        self._local.child = None
        how = f"over {self.seconds:.0f} s" if not ready else f"the process died, code {code}"
        return [Outcome("guard", "fault", how)]

    def _child(self) -> subprocess.Popen[bytes]:
        child: Any = getattr(self._local, "child", None)
        if child is None or child.poll() is not None:
            paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.conformance.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            self._local.child = child
            self._started.append(child)
        return child
