"""Change one place of the code at random, again and again, and see whether the tests notice.

    python tests/mutants/run.py recipe --count 100 --seed 0 --minutes 60

The places are those of cosmic-ray, drawn with a seed from all of ``workbench/<folder>``, each as likely as any other;
annotations and ``if TYPE_CHECKING``, which nothing runs, are left out. Each mutant is tried in a copy of the checkout
by the tests of ``tests/<folder>`` that run the changed lines, the quickest first, until one fails or takes much more
processor time than without it (``warm.py``). Prints every mutant that survived as a diff, and the share of them; ends
with 1 where it is over ``--allowed``. Which kinds of them may survive is in ``equivalent.md``.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from warm import Warm

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cosmic_ray.work_item import MutationSpec
    from warm import Ran

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 30.0
"""Of all tests that are tried on a mutant, by how long they take without it, in processor time."""

CONFIG = """[cosmic-ray]
module-path = ["{module}"]
timeout = 60
excluded-modules = []
test-command = "true"
[cosmic-ray.distributor]
name = "local"
"""


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


def mutated(mutation: MutationSpec, source: str) -> str:
    """Return the source with the change in it."""
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    return mutate_code(source, operator, mutation.occurrence)


def lines_of(mutation: MutationSpec) -> set[int]:
    """Return the lines that a change touches."""
    return set(range(mutation.start_pos[0], mutation.end_pos[0] + 1))


def tests_of(mutation: MutationSpec, checkout: Path, ran: Ran) -> Iterable[list[str]]:
    """Yield the tests that run a place, or all of the module's where none does, then the others of the same files.

    Those may look at what the former left in a cache. The quickest file is first, and the quickest test in it.
    """
    path = str(checkout / mutation.module_path)
    found = set().union(*(ran.tests.get((path, line), set()) for line in lines_of(mutation)))
    if not found:
        found = set().union(*(tests for (module, _), tests in ran.tests.items() if module == path)) or set(ran.seconds)
    files = {test.partition("::")[0] for test in found}
    rest = {test for test in ran.seconds if test.partition("::")[0] in files} - found
    yield from (_ordered(tests, ran.seconds) for tests in (found, rest) if tests)


def _ordered(tests: Iterable[str], seconds: dict[str, float]) -> list[str]:
    files: dict[str, list[str]] = defaultdict(list)
    chosen, spent = [], 0.0
    for test in sorted(tests, key=lambda name: (seconds[name], name)):
        files[test.partition("::")[0]].append(test)
    for file in sorted(files, key=lambda file: sum(seconds[test] for test in files[file])):
        for test in files[file]:
            spent += seconds[test]
            if chosen and spent > LONGEST_S:
                return chosen
            chosen.append(test)
    return chosen


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
        checkout = Path(folder).resolve() / "checkout"
        copy_of_checkout(checkout)
        module = f"workbench/{given.folder}"
        random_ = random.Random(given.seed)  # noqa: S311 - a sample, no secret
        chosen = places(checkout, module)
        drawn = [random_.choice(options) for options in random_.sample(chosen, min(given.count, len(chosen)))]
        warm = _warm(checkout, module, given.tests or [f"tests/{given.folder}"])
        say(f"{module}: {len(chosen)} places, {len(warm.ran.seconds)} tests of {sum(warm.ran.seconds.values()):.0f} s")
        tried, survived = 0, 0
        for mutation in drawn:
            if time.monotonic() > end:
                break
            tried += 1
            path = checkout / mutation.module_path
            source = mutated(mutation, before := path.read_text())
            if any(
                warm.killed(path, source, lines_of(mutation), tests) for tests in tests_of(mutation, checkout, warm.ran)
            ):
                continue
            survived += 1
            say(f"survived: {mutation.module_path}:{mutation.start_pos[0]} {mutation.operator_name}")
            say("\n".join(difflib.unified_diff(before.splitlines(), source.splitlines(), lineterm="", n=2)))
        warm.close()
        say(f"{module}: {survived} of {tried} mutants survived (seed {given.seed})")
    return int(survived > given.allowed * max(tried, 1))


def _warm(checkout: Path, module: str, tests: Sequence[str]) -> Warm:
    """Return the collected tests, after a look at whether they pass a second time without a mutant."""
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
    warm = Warm(checkout, module, tests)
    path = next((checkout / module).glob("*.py"))
    if warm.killed(path, path.read_text(), set(), _ordered(warm.ran.seconds, warm.ran.seconds)):
        say("Without a mutant the tests do not pass a second time: what follows may count too few survivors.")
    return warm


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
