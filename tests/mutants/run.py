"""Change one place of the code at random, again and again, and see whether the tests notice.

    python tests/mutants/run.py recipe --count 100 --seed 0 --minutes 60

The places are those of cosmic-ray, drawn with a seed from all of ``workbench/<folder>``, each as likely as any other;
annotations and ``if TYPE_CHECKING``, which nothing runs, are left out. Each mutant is tried in a copy of the checkout
by the tests of ``tests/<folder>`` that run the changed lines, the quickest first, until one fails. Prints every mutant
that survived as a diff, and the share of them; ends with 1 where it is over ``--allowed``. Which kinds of them
may survive is in ``equivalent.md``.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from coverage.numbits import numbits_to_nums

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cosmic_ray.work_item import MutationSpec, WorkResult

ROOT = Path(__file__).resolve().parents[2]
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--skip-lowered", "-p", "no:randomly")
LONGEST_S = 60.0
"""Of the tests that are tried on a mutant, by how long they took without it."""

CONFIG = """[cosmic-ray]
module-path = ["{module}"]
timeout = 60
excluded-modules = []
test-command = "true"
[cosmic-ray.distributor]
name = "local"
"""


class Coverage(NamedTuple):
    """What the tests of a folder run: tests by file and line, and how long each takes in seconds."""

    tests: dict[tuple[str, int], set[str]]
    seconds: dict[str, float]

    def of(self, mutation: MutationSpec) -> list[str]:
        """Return the tests that run a place, the quickest first; all of the module's for what runs on import."""
        path = str(mutation.module_path)
        lines = range(mutation.start_pos[0], mutation.end_pos[0] + 1)
        found = set().union(*(self.tests.get((path, line), set()) for line in lines))
        if not found:
            found = set().union(*(tests for (module, _), tests in self.tests.items() if module == path), set())
        found = found or set(self.seconds)
        chosen, spent = [], 0.0
        for test in sorted(found, key=lambda name: (self.seconds.get(name, 1.0), name)):
            spent += self.seconds.get(test, 1.0)
            if chosen and spent > LONGEST_S:
                break
            chosen.append(test)
        return chosen


def copy_of_checkout(into: Path) -> None:
    """Copy what git tracks, and link what lies beside it."""
    git = shutil.which("git") or "git"
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.split(b"\0")):
        source = ROOT / name.decode()
        target = into / name.decode()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    if (ROOT.parent / "shared").exists():
        (into.parent / "shared").symlink_to(ROOT.parent / "shared")


def measured(checkout: Path, module: str, tests: Sequence[str]) -> Coverage:
    """Run tests once, and see which of them run which line."""
    report = checkout / "times.xml"
    command = [*PYTEST, *tests, f"--cov={module}", "--cov-context=test", "--cov-report=", f"--junitxml={report}"]
    subprocess.run(command, cwd=checkout, stdout=subprocess.DEVNULL, check=False)
    seconds: dict[str, float] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by pytest just now
        file = f"{case.get('classname', '').replace('.', '/')}.py"
        if case.find("failure") is None and case.find("error") is None and case.find("skipped") is None:
            seconds[f"{file}::{case.get('name')}"] = float(case.get("time", 0))
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    with sqlite3.connect(checkout / ".coverage") as db:
        query = (
            "select file.path, context.context, numbits from line_bits "
            "join file on file.id = file_id join context on context.id = context_id"
        )
        for path, context, bits in db.execute(query):
            test = context.partition("|")[0]
            if test in seconds:
                name = str(Path(path).relative_to(checkout))
                for line in numbits_to_nums(bits):
                    found[name, line].add(test)
    return Coverage(dict(found), seconds)


def places(checkout: Path, module: str) -> list[list[MutationSpec]]:
    """Return the places that can be changed, each with the changes that are possible there."""
    (checkout / "mutants.toml").write_text(CONFIG.format(module=module))
    init = [sys.executable, "-m", "cosmic_ray.cli", "init", "mutants.toml", "mutants.sqlite"]
    subprocess.run(init, cwd=checkout, check=True)
    found: dict[tuple[str, tuple[int, int], tuple[int, int]], list[MutationSpec]] = defaultdict(list)
    with use_db(str(checkout / "mutants.sqlite"), WorkDB.Mode.open) as db:
        for item in db.work_items:
            (mutation,) = item.mutations
            found[str(mutation.module_path), mutation.start_pos, mutation.end_pos].append(mutation)
    annotated = {name: set(_annotated(ast.parse((checkout / name).read_text()))) for name, _, _ in found}
    return [
        sorted(found[name, start, end], key=lambda m: (m.operator_name, m.occurrence, str(m.operator_args)))
        for name, start, end in sorted(found)
        if start not in annotated[name]
    ]


def _annotated(tree: ast.AST) -> Iterable[tuple[int, int]]:
    """Yield line and column of every place in an annotation, or in the question whether types are being checked."""
    for node in ast.walk(tree):
        asked = node.test if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else None
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None), asked):
            if isinstance(part, ast.AST):
                for inner in ast.walk(part):
                    if hasattr(inner, "lineno"):
                        last = range(inner.col_offset, (inner.end_col_offset or 0) + 1)
                        yield from ((inner.lineno, column) for column in last)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of workbench/, for example recipe")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after that, at a whole mutant")
    parser.add_argument("--tests", nargs="+", help="where the tests are, if not in tests/<folder>")
    parser.add_argument("--allowed", type=float, default=0.1, help="share of mutants that may survive")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory(prefix="workbench-mutants-") as folder:
        checkout = Path(folder) / "checkout"
        copy_of_checkout(checkout)
        os.environ["PYTHONPATH"] = str(checkout)  # for processes that tests start
        module = f"workbench/{given.folder}"
        coverage = measured(checkout, module, given.tests or [f"tests/{given.folder}"])
        sys.stdout.write(f"{module}: {len(coverage.seconds)} tests\n")
        random_ = random.Random(given.seed)  # noqa: S311 - a sample, no secret
        chosen = places(checkout, module)
        drawn = [random_.choice(options) for options in random_.sample(chosen, min(given.count, len(chosen)))]
        tried, survived, unseen = 0, 0, 0
        for mutation in drawn:
            if time.monotonic() > end:
                break
            tests = coverage.of(mutation)
            tried += 1
            result = None if not tests else _tried(checkout, mutation, tests)
            if result is not None and result.is_killed:
                continue
            survived += 1
            unseen += result is None
            where = f"{mutation.module_path}:{mutation.start_pos[0]} {mutation.operator_name}"
            sys.stdout.write(f"survived: {where}{'' if result else ' (no test runs it)'}\n")
            sys.stdout.write("" if result is None or result.diff is None else f"{result.diff}\n")
            sys.stdout.flush()
        sys.stdout.write(f"{module}: {survived} of {tried} mutants survived, {unseen} of them run by no test\n")
    return int(survived > given.allowed * max(tried, 1))


def _tried(checkout: Path, mutation: MutationSpec, tests: Sequence[str]) -> WorkResult:
    here = Path.cwd()
    os.chdir(checkout)
    try:
        return mutate_and_test([mutation], shlex.join([*PYTEST, "-x", *tests]), LONGEST_S * 5)
    finally:
        os.chdir(here)


if __name__ == "__main__":
    sys.exit(main())
