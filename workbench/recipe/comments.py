"""A person's comments in a recipe outlive what the workbench changes in it."""

from __future__ import annotations

import difflib
import io
import json
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

__all__ = ["with_comments"]


def with_comments(before: str, after: str) -> str:
    """Return a document with the comments of an earlier version of it, beside what they were beside.

    Parameters
    ----------
    before
        The earlier version, as a person left it.
    after
        The document as it is now. What it says is what the result says; only comments and the way in which unchanged
        values are written come from `before`.
    """
    if "#" not in before or before == after:
        return after
    both = _yaml()
    old, new = both.load(before), both.load(after)
    both.version = None  # which is said nowhere in the text
    if not isinstance(old, dict):
        return after
    stream = io.StringIO()
    both.dump(_merged(old, new), stream)
    merged = stream.getvalue()
    # A comment is worth less than a number: were they ever at odds, the number wins.
    return merged if yaml.safe_load(merged) == yaml.safe_load(after) else after


def _yaml() -> YAML:
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import RoundTripConstructor, SafeConstructor
    from ruamel.yaml.representer import RoundTripRepresenter
    from ruamel.yaml.resolver import VersionedResolver

    class Constructor(RoundTripConstructor):
        """Reads floats as plain ones: those that ruamel keeps with their text lose digits when they are written."""

    class Representer(RoundTripRepresenter):
        """Writes them as PyYAML does."""

    class Resolver(VersionedResolver):
        """Tells text from other values as PyYAML does: to ruamel, the names y, n and 1e5 are no text."""

        @property
        def versioned_resolver(self) -> dict[Any, Any]:
            return {first: [*rules] for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()}

    Constructor.add_constructor("tag:yaml.org,2002:float", SafeConstructor.construct_yaml_float)
    Representer.add_representer(float, lambda own, value: own.represent_scalar(*_float(value)))
    both = YAML()
    both.Constructor, both.Representer, both.Resolver = Constructor, Representer, Resolver
    both.version = (1, 1)  # as PyYAML reads and writes
    both.preserve_quotes = True
    both.width = 120
    both.allow_unicode = True
    return both


def _float(value: float) -> tuple[str, str]:
    node = yaml.representer.SafeRepresenter().represent_float(value)
    return node.tag, node.value


def _merged(old: Any, new: Any) -> Any:
    """Return the new value, with the old one's comments where the two are of a kind."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(old, CommentedMap) and isinstance(new, CommentedMap):
        return _mapping(old, new)
    if isinstance(old, CommentedSeq) and isinstance(new, CommentedSeq):
        return _sequence(old, new)
    return old if type(old) is type(new) and old == new else new


def _mapping(old: CommentedMap, new: CommentedMap) -> CommentedMap:
    for key in [key for key in old if key not in new]:
        del old[key]
    for position, (key, value) in enumerate(new.items()):
        if key in old:
            old[key] = _merged(old[key], value)
        else:
            old.insert(position, key, value)
    return old


def _sequence(old: CommentedSeq, new: CommentedSeq) -> CommentedSeq:
    """Line two lists up by what is the same in them, else by what is of one kind."""
    plain = [[_plain(item) for item in items] for items in (old, new)]
    place = 0
    matcher = difflib.SequenceMatcher(None, plain[0], plain[1], autojunk=False)
    for tag, first, last, begin, end in matcher.get_opcodes():
        if tag == "equal":
            place += last - first
            continue
        both = min(last - first, end - begin)
        for offset in range(both):
            old[place] = _merged(old[place], new[begin + offset])
            place += 1
        for _ in range(first + both, last):
            del old[place]
        for offset in range(begin + both, end):
            old.insert(place, new[offset])
            place += 1
    return old


def _plain(item: Any) -> str:
    return json.dumps(item, sort_keys=True, default=str)
