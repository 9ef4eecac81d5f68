"""Messages of a page to its widget."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from tests.fuzz import mutate
from tests.fuzz.registry import kind, tuned, valid_svg
from workbench import views


@kind
def messages(rng, _folder, base):
    """Messages of a page to its widget; afterwards it still draws and answers."""
    view, valid = rng.choice(_pages(str(base)))
    heard = []
    view.tell = lambda kind, **fields: heard.append(f"{kind}: {fields.get('text')}")
    for _ in range(5):
        asked = mutate.document(rng, rng.choice(valid)) if rng.random() < 0.9 else mutate.strange(rng)
        try:
            sent = json.loads(json.dumps(asked))
        except (ValueError, RecursionError):  # nothing that a page can send
            continue
        view.handle(sent)
        assert not any("a fault of the workbench" in message for message in heard), heard[-1][:300]
    view.handle(valid[0])
    valid_svg(view.svg())


GRAPH = (
    {"type": "search", "pattern": "conv", "next": False},
    {"type": "select", "pane": 0, "id": "stem/conv", "add": False},
    {"type": "row", "rows": ["stem/conv"], "add": True},
    {"type": "toggle", "id": "stem"},
    {"type": "focus", "on": True, "hops": 1},
    {"type": "colour", "column": "op"},
    {"type": "size", "column": "MACs"},
    {"type": "details", "pane": 0, "id": "stem/conv"},
)
SURGERY = (
    *GRAPH,
    {"type": "preview", "index": 0},
    {"type": "apply"},
    {"type": "form", "edit": "rename_node"},
    {"type": "try", "edit": "rename_node", "arguments": {"node": "stem/conv", "to": "z"}},
    {"type": "pick", "selector": "op:Conv"},
    {"type": "between"},
    {"type": "undo"},
    {"type": "redo"},
)
PLAN = (
    {"type": "select", "rows": ["head/fc"]},
    {"type": "select", "rows": ["head/fc"], "add": True},
    {"type": "sort", "column": "macs"},
    {"type": "find", "selector": "*"},
    {"type": "preview", "precision": "fp16"},
    {"type": "set", "precision": "fp16"},
    {"type": "take", "point": 0},
    {"type": "undo"},
)
TABLE = ({"type": "sort", "column": "range"}, {"type": "select", "rows": ["x"], "add": True})
THRESHOLD = ({"type": "threshold", "amax": 1.5},)


@functools.cache
def _pages(base):
    base = Path(base)
    return (
        (views.graph(tuned(base)), GRAPH),
        (views.surgery(tuned(base)), SURGERY),
        (views.precision(tuned(base)), PLAN),
        (views.tensor_table(tuned(base)), TABLE),
        (views.distribution(tuned(base), "x"), THRESHOLD),
    )
