"""Change something that is valid in one to four places: messages by their fields, documents by their parts, bytes."""

from __future__ import annotations

import copy
import json
import math

NAMES = (
    *(
        "",
        " ",
        "/",
        "..",
        "../../outside",
        "/etc/passwd",
        "a\nb",
        "a\rb",
        "\x00",
        "\x1b[31m",
        "\x85",
        "\u2028",
        "\ufeff",
    ),
    *("<b>&\"'", "]]>", "{{x}}", "a" * 5000, "日本語", "\U0001f600", "\ud800", "x", "y", "w", "con", "%s%n", "a/b/c"),
)
INTEGERS = (0, 1, -1, 2, 3, 7, 127, 128, 255, 65536, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-300, 3.4e38, 1e308, math.inf, -math.inf, math.nan)


def nested(rng):
    """Return something nested deeper than a parser's stack may bear."""
    depth = rng.choice((3, 50, 400, 3000))
    value = rng.choice(([], {}, 1, "x"))
    for _ in range(depth):
        value = [value] if depth != 50 else {"x": value}
    return value


def strange(rng):
    """Return a value of any type that a document may hold where another one belongs."""
    kinds = (
        lambda: rng.choice(NAMES),
        lambda: rng.choice((*INTEGERS, 10**25, 10 ** rng.choice((400, 4400)))),
        lambda: rng.choice(FLOATS),
        lambda: rng.choice((None, True, False)),
        list,
        dict,
        lambda: [rng.choice(NAMES), rng.choice(INTEGERS)],
        lambda: {rng.choice(NAMES): rng.choice(INTEGERS)},
        lambda: nested(rng) if rng.random() < 0.2 else [[]],
    )
    return rng.choice(kinds)()


def places(value, limit=2000):
    """Return (container, key) for every place in a document."""
    actual, waiting = [], [value]
    while waiting and len(actual) < limit:
        part = waiting.pop()
        keys = part.keys() if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        for key in keys:
            actual.append((part, key))
            waiting.append(part[key])
    return actual


def document(rng, value):
    """Return a document with some of its parts changed."""
    try:
        return _document(rng, value)
    except RecursionError:  # it copied what it had nested itself
        return nested(rng)


def _document(rng, value):
    """Return a document with some of its parts deleted, replaced, renamed, repeated or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 4)):
        there = places(value)
        if not there:
            return strange(rng)
        part, key = rng.choice(there)
        what = rng.choice(("delete", "replace", "replace", "replace", "rename", "repeat", "exchange"))
        if what == "delete":
            del part[key]
        elif what == "replace":
            part[key] = strange(rng)
        elif what == "rename" and isinstance(part, dict):
            part[rng.choice(NAMES)] = part.pop(key)
        elif what == "repeat" and isinstance(part, list):
            part.extend(copy.deepcopy([part[key]]) * rng.choice((1, 2, 40)))
        else:
            other, at = rng.choice(there)
            if isinstance(other, dict) or (isinstance(at, int) and at < len(other)):
                part[key] = copy.deepcopy(other[at] if not isinstance(other, dict) or at in other else None)
    return value


def as_json(value):
    """Return a document as JSON text, whatever it holds."""
    try:
        return json.dumps(value).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):  # digits or depth that json itself will not write
        return b'{"x":' * 3000 + b"1" * 5000


def content(rng, data):
    """Return bytes with some of them changed, removed, repeated or put elsewhere."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 1, 2, 8, 64, 1000)))
        what = rng.randrange(6)
        if what == 0:
            data[start:end] = bytes(rng.randrange(256) for _ in range(end - start))
        elif what == 1:
            del data[start:end]
        elif what == 2:
            data[start:start] = data[start:end]
        elif what == 3:
            del data[start:]
        elif what == 4:
            data[start:end] = rng.choice((b"\xff", b"\x00", b"\xed\xa0\x80", b"\n", b'"', b"9" * 5000, b"[" * 2000))
        elif data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def message(rng, proto):
    """Change a protobuf message in place: fields cleared, set, repeated, exchanged with others of their kind."""
    for _ in range(rng.randint(1, 4)):
        value = _messages(proto)
        if rng.random() < 0.8:
            value = [one for one in value if one.ByteSize() < 4096] or value
        _change(rng, rng.choice(value), value)


def _messages(proto):
    actual, waiting = [], [proto]
    while waiting and len(actual) < 3000:
        part = waiting.pop()
        actual.append(part)
        for field, value in part.ListFields():
            if field.message_type is not None:
                waiting.extend(value if _is_list(value) else [value])
    return actual


def _is_list(value):
    return hasattr(value, "extend")


def _change(rng, part, found):
    fields = [field for field, _ in part.ListFields()]
    everything = list(part.DESCRIPTOR.fields)
    field = rng.choice(fields) if fields and rng.random() < 0.75 else rng.choice(everything)
    value = getattr(part, field.name)
    if _is_list(value):
        _change_list(rng, field, value, found)
    elif rng.random() < 0.15:
        part.ClearField(field.name)
    elif field.message_type is not None:
        same = [one for one in found if one.DESCRIPTOR is field.message_type and one is not value]
        if same:
            value.CopyFrom(copy.deepcopy(rng.choice(same)))
        else:
            value.SetInParent()
    else:
        setattr(part, field.name, _scalar(rng, field, found))


def _change_list(rng, field, value, found):
    what = rng.choice(("remove", "repeat", "add", "change", "clear", "turn"))
    if what == "clear":
        del value[:]
    elif what == "remove" and len(value):
        del value[rng.randrange(len(value))]
    elif what == "turn" and len(value) > 1:
        turned = [copy.deepcopy(one) for one in value]
        rng.shuffle(turned)
        del value[:]
        value.extend(turned)
    elif field.message_type is not None:
        same = [one for one in found if one.DESCRIPTOR is field.message_type]
        if same and what != "change":
            value.extend(copy.deepcopy([rng.choice(same)]) * rng.choice((1, 1, 30)))
        elif what == "add":
            value.add()
    elif len(value) and what == "change":
        value[rng.randrange(len(value))] = _scalar(rng, field, found)
    else:
        value.extend([_scalar(rng, field, found)] * rng.choice((1, 1, 30)))


def _scalar(rng, field, found):
    kind = field.cpp_type
    if field.enum_type is not None:
        return rng.choice([one.number for one in field.enum_type.values])
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice(FLOATS)
    if kind == field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind != field.CPPTYPE_STRING:
        bits = 31 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 63
        low = 0 if kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64) else -(2**bits)
        return rng.choice([one for one in INTEGERS if low <= one < 2**bits])
    if field.type == field.TYPE_BYTES:
        return bytes(rng.randrange(256) for _ in range(rng.choice((0, 1, 3, 4, 8, 100))))
    # Most often a name that stands somewhere in the same message: edges that cross, clash or close a circle.
    entries = [value for one in found for field_, value in one.ListFields() if field_.name == "name"]
    name = rng.choice(entries) if entries and rng.random() < 0.5 else rng.choice(NAMES)
    return name if isinstance(name, str) and name.isprintable() else name.encode("utf-8", "replace").decode()
