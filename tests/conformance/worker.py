"""The guarded child: reads paths of cases from its standard input, writes one line of JSON for each.

A library that crashes or hangs takes this process along, and no other.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
from pathlib import Path

MOST_BYTES = 12 << 30


def main() -> None:
    """Examine case after case until the input ends."""
    # What libraries print must not get between the lines of the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    from tests.conformance.steps import examine

    for line in sys.stdin:
        order = json.loads(line)
        case = pickle.loads(Path(order["path"]).read_bytes())  # noqa: S301 - written by the parent
        entries = [outcome.as_json() for outcome in examine(case, compile_too=order["compile_too"])]
        answer.write(json.dumps(entries) + "\n")
        answer.flush()


if __name__ == "__main__":
    main()
