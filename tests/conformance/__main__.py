"""The suite on the command line: ``make conformance``, or a part of it."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.cases import REAL, backend_cases, real_cases
from tests.conformance.guard import Guard
from tests.conformance.table import count, markdown

if TYPE_CHECKING:
    from tests.conformance.steps import Outcome

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
MARKS = {
    False: ("<!-- counts -->", "<!-- end of counts -->"),
    True: ("<!-- counts of real models -->", "<!-- end of counts of real models -->"),
}
"""Where the page has the table of ONNX's cases, and that of the real models."""


def main() -> int:
    """Examine the cases, print the faults and the table; 1 where there is a fault."""
    arguments = _arguments()
    cases = [] if arguments.real_only else backend_cases()
    if (arguments.models / "MANIFEST.json").is_file() and not arguments.sample and not arguments.cases_only:
        cases += real_cases(arguments.models)
    cases = [case for case in cases if arguments.only in case.name]
    if arguments.sample:
        cases = random.Random(arguments.seed).sample(cases, min(arguments.sample, len(cases)))  # noqa: S311 - no secret
    guard = Guard(seconds=arguments.seconds, compile_too=arguments.check)
    started, actual = time.monotonic(), dict[str, list["Outcome"]]()
    for case, outcomes in guard.examine(cases, arguments.processes):
        actual[case.name] = outcomes
        for outcome in outcomes:
            if outcome.status == "fault" or arguments.verbose:
                print(f"{outcome.status} {case.name} [{outcome.step}] {outcome.detail}", flush=True)
    for real, marks in MARKS.items():
        part = {name: outcomes for name, outcomes in actual.items() if name.startswith(REAL) is real}
        if not part:
            continue
        runs = sum(outcomes[0].status != "skipped" for outcomes in part.values())
        table = markdown(count(part))
        print(f"\n{len(part)} {'real models' if real else 'cases'}, {runs} of which ONNX Runtime runs\n\n{table}")
        if arguments.docs:
            _into_the_docs(table, *marks)
    print(f"{time.monotonic() - started:.0f} s")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({n: [o.as_json() for o in outcomes] for n, outcomes in actual.items()}))
    return int(any(o.status == "fault" for outcomes in actual.values() for o in outcomes))


def _into_the_docs(table: str, first: str, last: str) -> None:
    text = PAGE.read_text()
    start, end = text.index(first) + len(first), text.index(last)
    PAGE.write_text(f"{text[:start]}\n\n{table}\n\n{text[end:]}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="a seeded sample of this many backend cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--real-only", action="store_true", help="the real models alone")
    kinds.add_argument("--cases-only", action="store_true", help="ONNX's cases alone")
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--check", action="store_true", help="ask TensorRT-RTX's compiler, too")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120.0, help="what one model may take")
    parser.add_argument("--json", type=Path, help="write every outcome there")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/conformance.md")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
