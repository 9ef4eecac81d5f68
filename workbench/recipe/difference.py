"""What differs between two recipes, in words."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from workbench.display import shortened
from workbench.recipe.steps import about

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workbench.recipe.document import Recipe
    from workbench.recipe.steps import Step

__all__ = ["drifted", "recipe_difference"]

MOST = 5
"""Ranges of one step that are told one by one."""


def recipe_difference(before: Recipe, after: Recipe) -> tuple[str, ...]:
    """Say what differs between two recipes, a sentence each; nothing where they do the same to the same model.

    Where a file lies is no difference; what is in it is.
    """
    return tuple(_changes(before, after))


def drifted(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the packages whose versions differ between two environments, as ``onnx 1.17.0 -> 1.23.2``."""
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'missing')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _changes(before: Recipe, after: Recipe) -> Iterator[str]:
    if before.model.sha256 != after.model.sha256:
        same = before.model.structure is not None and before.model.structure == after.model.structure
        how = "the same network with other weights" if same else "another model"
        yield f"model: {how} ({before.model.sha256[:12]} -> {after.model.sha256[:12]})"
    yield from _steps(before.steps, after.steps)
    for name in ("target", "weight_storage"):
        a, b = getattr(before, name), getattr(after, name)
        if a != b:
            yield f"{name.replace('_', ' ')}: {a or 'not stated'} -> {b or 'not stated'}"
    builds = [{} if one.build is None else one.build.model_dump() for one in (before, after)]
    for name in dict.fromkeys([*builds[0], *builds[1]]):
        if builds[0].get(name) != builds[1].get(name):
            yield f"build: {name} {_text(builds[0].get(name))} -> {_text(builds[1].get(name))}"
    gates = [[str(gate) for gate in one.gates] for one in (before, after)]
    yield from (f"gate {gate} is gone" for gate in gates[0] if gate not in gates[1])
    yield from (f"gate {gate} is new" for gate in gates[1] if gate not in gates[0])
    on = [None if one.evaluation is None else one.evaluation.samples.fingerprint for one in (before, after)]
    if on[0] != on[1]:
        counts = [
            "the calibration's" if e is None else f"{e.samples.count}" for e in (before.evaluation, after.evaluation)
        ]
        yield f"gates are judged on other samples: {counts[0]} -> {counts[1]}"
    if before.tuned is not None and after.tuned is not None and before.tuned != after.tuned:
        yield f"tuned.onnx: {before.tuned.sha256[:12]} -> {after.tuned.sha256[:12]}"
    if versions := drifted(before.environment, after.environment):
        yield f"environment: {', '.join(versions)}"


def _steps(before: tuple[Any, ...], after: tuple[Any, ...]) -> Iterator[str]:
    kinds = [[_name(step) for step in steps] for steps in (before, after)]
    for tag, first, last, begin, end in difflib.SequenceMatcher(None, kinds[0], kinds[1], autojunk=False).get_opcodes():
        if tag == "equal":
            for at, to in zip(range(first, last), range(begin, end), strict=True):
                yield from _fields(before[at], after[to], f"step {to} ({kinds[1][to]})")
            continue
        yield from (f"step {at} ({kinds[0][at]}) is gone" for at in range(first, last))
        yield from (f"step {to} ({kinds[1][to]}) is new{_detail(after[to])}" for to in range(begin, end))


def _name(step: Step) -> str:
    # A method or a search's move may change within a step; a selector or a tensor makes it another one.
    target = getattr(step, "select", None) or getattr(step, "tensor", None)
    return f"{step.do} {target}" if target else step.do


def _detail(step: Step) -> str:
    value = getattr(step, "precision", None) or getattr(step, "amax", None) or about(step)
    return "" if value is None or str(value) in _name(step) else f": {value}"


def _fields(before: Any, after: Any, where: str) -> Iterator[str]:
    old, new = (one.model_dump(mode="json", exclude_none=True) for one in (before, after))
    for name in (*old, *(key for key in new if key not in old)):
        if name in ("sha256", "do") or old.get(name) == new.get(name):
            continue
        if name in ("ranges", "overflow", "unranged", "overrides", "shifts"):
            yield from _numbers(old.get(name, {}), new.get(name, {}), f"{where}: {name}")
        elif name == "samples":
            if old[name]["fingerprint"] != new[name]["fingerprint"]:
                yield f"{where}: other samples, {old[name]['count']} -> {new[name]['count']}"
        elif isinstance(old.get(name), dict) and "sha256" in old[name]:
            if old[name]["sha256"] != new.get(name, {}).get("sha256"):
                yield f"{where}: another {name}"
        else:
            yield f"{where}: {name} {_text(old.get(name))} -> {_text(new.get(name))}"


def _numbers(before: dict[str, Any], after: dict[str, Any], where: str) -> Iterator[str]:
    names = [name for name in (*before, *(n for n in after if n not in before)) if before.get(name) != after.get(name)]

    def moved(name: str) -> float:
        a, b = before.get(name), after.get(name)
        return abs(b / a - 1) if isinstance(a, float) and isinstance(b, float) and a else float("inf")

    names.sort(key=moved, reverse=True)
    changes = [f"{name} {_text(before.get(name))} -> {_text(after.get(name))}" for name in names[:MOST]]
    more = f", and {len(names) - MOST} more" if len(names) > MOST else ""
    if names:
        yield f"{where}: {len(names)} of {len(before | after)} differ: {', '.join(changes)}{more}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return shortened(value if isinstance(value, str) else json.dumps(value), 80)
