"""Change one place of the code at random, again and again, and see whether the tests notice.

    python tests/mutants/run.py recipe --count 100 --seed 0 --minutes 60

The places are those of cosmic-ray, drawn with a seed from all of ``workbench/<folder>``, each as likely as any other;
``recipe/state.py`` is one module, and ``.`` all that lie in no folder. Annotations and ``if TYPE_CHECKING``, which
nothing runs, and guards like ``frozen`` and ``strict`` are left out. Each mutant is tried in a copy of the checkout by
the tests of ``tests/<folder>`` that run the changed lines, the quickest first, until one fails or takes much more
processor time than without it (``warm.py``); what survives those meets some of the folder's others. Prints every
mutant that survived as a diff, and the share of them; ends with 1 where it is over ``--allowed``. Which kinds of them
may survive is in ``equivalent.md``.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import difflib
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from warm import Warm

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from warm import Ran

ROOT = Path(__file__).resolve().parents[2]
LIKELY_S = 30.0
"""Of the tests that run the changed lines, by how long they take without the change, in processor time."""
GUARDS = ("frozen", "slots", "strict")
"""Of a dataclass or a zip: they refuse what the program does not do, which the type checker and tests have shown."""
OTHERS_S = 15.0
"""Of each kind of other tests that is tried before a mutant counts as survived."""


def copy_of_checkout(into: Path) -> None:
    """Copy what git tracks, or all where it tracks nothing, and link what lies beside it."""
    git = shutil.which("git") or "git"
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    for name in filter(None, listed.decode().split("\0")):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    if not listed:
        shutil.copytree(ROOT, into, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    if (ROOT.parent / "shared").exists():
        (into.parent / "shared").symlink_to(ROOT.parent / "shared")


class Mutation(NamedTuple):
    """One change: the how many-th place of its file that an operator of cosmic-ray can change."""

    path: Path
    operator: str
    occurrence: int
    lines: range

    def of(self, source: str) -> str:
        """Return the source with the change in it."""
        return mutate_code(source, get_operator(self.operator)(), self.occurrence)


def tests_of(mutation: Mutation, ran: Ran) -> Iterable[list[str]]:
    """Yield the tests that run a place, the others of the same files, the others of the module, and all others.

    Where no test runs it, those of the module are first. The others may look at what the former left in a cache, or
    run the place in another process. The quickest file is first, and the quickest test in it.
    """
    path = str(mutation.path)
    loops = set().union(*(ran.tests.get((path, line), set()) for line in mutation.lines))
    of_module = set().union(*(tests for (module, _), tests in ran.tests.items() if module == path))
    likely = loops or of_module or set(ran.seconds)
    files = {test.partition("::")[0] for test in likely}
    beside = {test for test in ran.seconds if test.partition("::")[0] in files}
    tried: set[str] = set()
    for tests, most in ((likely, LIKELY_S), (beside, OTHERS_S), (of_module, OTHERS_S), (set(ran.seconds), OTHERS_S)):
        if chosen := _ordered(tests - tried, ran.seconds, most):
            tried.update(chosen)
            yield chosen


def _ordered(tests: Iterable[str], seconds: dict[str, float], most: float) -> list[str]:
    files: dict[str, list[str]] = defaultdict(list)
    chosen, spent = [], 0.0
    for test in sorted(tests, key=lambda name: (seconds[name], name)):
        files[test.partition("::")[0]].append(test)
    for file in sorted(files, key=lambda file: sum(seconds[test] for test in files[file])):
        for test in files[file]:
            spent += seconds[test]
            if chosen and spent > most:
                return chosen
            chosen.append(test)
    return chosen


def files_of(place: Path) -> list[Path]:
    """Return the modules of a folder; of the package itself those that lie in no folder of it."""
    if place.is_file():
        return [place]
    return sorted(place.glob("*.py") if place.name == "workbench" else place.rglob("*.py"))


def tests_beside(place: str) -> list[str]:
    """Return where the tests of a folder or module lie."""
    if place == ".":
        return [f"tests/{path.name}" for path in sorted((ROOT / "tests").glob("test_*.py"))]
    return [f"tests/{Path(place).parent if place.endswith('.py') else place}"]


def places(files: Iterable[Path]) -> list[list[Mutation]]:
    """Return the places that can be changed, each with the changes that are possible there."""
    kinds = {name: get_operator(name) for name in operator_names()}
    operators = [(name, kind()) for name, kind in sorted(kinds.items()) if not kind.arguments()]
    actual: dict[tuple[Path, tuple[int, int], tuple[int, int]], list[Mutation]] = defaultdict(list)
    for path in files:
        source = path.read_text()
        nodes, unseen = list(ast_nodes(get_ast(source))), set(_unseen(ast.parse(source)))
        for name, operator in operators:
            positions = (position for node in nodes for position in operator.mutation_positions(node))
            for occurrence, (start, end) in enumerate(positions):
                if start not in unseen:
                    actual[path, start, end].append(Mutation(path, name, occurrence, range(start[0], end[0] + 1)))
    return [actual[place] for place in sorted(actual)]


def _unseen(tree: ast.AST) -> Iterable[tuple[int, int]]:
    """Yield line and column of every place that nothing runs, or that only keeps this code's own mistakes from running.

    That is what stands in an annotation or where types are being checked, and `GUARDS`.
    """
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            parts += [node.test, *node.body]
        if isinstance(node, ast.keyword) and node.arg in GUARDS:
            parts.append(node.value)
        for part in filter(None, parts):
            for inner in ast.walk(part):
                if hasattr(inner, "lineno"):
                    last = range(inner.col_offset, (inner.end_col_offset or 0) + 1)
                    yield from ((inner.lineno, column) for column in last)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of workbench/, or a module: recipe, recipe/state.py; . for those in no folder")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after that, at a whole mutant")
    parser.add_argument("--tests", nargs="+", help="where the tests are, if not beside it in tests/")
    parser.add_argument("--allowed", type=float, default=0.1, help="share of mutants that may survive")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory(prefix="workbench-mutants-") as folder:
        checkout = Path(folder).resolve() / "checkout"
        copy_of_checkout(checkout)
        module = str(Path("workbench", arguments.folder))
        files = files_of(checkout / module)
        random_ = random.Random(arguments.seed)  # noqa: S311 - a sample, no secret
        chosen = places(files)
        drawn = [random_.choice(options) for options in random_.sample(chosen, min(arguments.count, len(chosen)))]
        warm = _warm(checkout, files, arguments.tests or tests_beside(arguments.folder))
        say(f"{module}: {len(chosen)} places, {len(warm.ran.seconds)} tests of {sum(warm.ran.seconds.values()):.0f} s")
        tried, survived = 0, 0
        for mutation in drawn:
            if time.monotonic() > end:
                break
            try:
                source = mutation.of(before := mutation.path.read_text())
            except AttributeError:  # cosmic-ray changes no exception that has its module before its name
                continue
            tried += 1
            lines = set(mutation.lines)
            if any(warm.killed(mutation.path, source, lines, tests) for tests in tests_of(mutation, warm.ran)):
                continue
            survived += 1
            say(f"survived: {mutation.path.relative_to(checkout)}:{mutation.lines[0]} {mutation.operator}")
            say("\n".join(difflib.unified_diff(before.splitlines(), source.splitlines(), lineterm="", n=2)))
        warm.close()
        say(f"{module}: {survived} of {tried} mutants survived (seed {arguments.seed})")
    return int(survived > arguments.allowed * max(tried, 1))


def _warm(checkout: Path, files: Sequence[Path], tests: Sequence[str]) -> Warm:
    """Return the collected tests, without those that do not pass a second time without a mutant."""
    temporary = checkout.parent / "tmp"
    temporary.mkdir()
    os.chdir(checkout)
    os.environ |= {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(temporary)}
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    tempfile.tempdir = str(temporary)
    sys.path[:] = [
        str(checkout),
        *(entry for entry in sys.path if Path(entry).resolve() not in {ROOT, Path(__file__).parent}),
    ]
    compileall.compile_dir(checkout / "workbench", quiet=2)
    warm = Warm(checkout, os.path.commonpath([path.parent for path in files]), tests)
    path = files[0]
    while warm.killed(path, path.read_text(), set(), _ordered(warm.ran.seconds, warm.ran.seconds, math.inf)):
        if not (test := warm.noticed.read_text()):
            raise RuntimeError("without a mutant, and without a test that fails, the second run does not end well")
        say(f"without a mutant {test} fails the second time: left out")
        warm.leave_out(test)
    return warm


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
