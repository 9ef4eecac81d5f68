"""What a selector's words mean: each key, each relation, and the names somebody may have meant."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from workbench.errors import SelectorError
from workbench.graph.index import scope_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import onnx_ir as ir

    from workbench.graph.model import Model

__all__ = ["KEYS", "RELATIONS", "WORDS", "compiled", "on_path", "similar", "tensor_names"]


def _glob(pattern: str, *, levels: bool = False) -> re.Pattern[str]:
    """Compile a glob. With `levels`, ``*`` stays within one level of a path and ``**`` crosses them."""
    parts = re.findall(r"\\[*?\\]|\*\*|\*|\?|.", pattern, flags=re.DOTALL)
    inner = "[^/]*" if levels else ".*"
    wild = {"*": inner, "**": ".*", "?": "[^/]" if levels else "."}
    return re.compile("".join(wild.get(part) or re.escape(part[-1]) for part in parts), flags=re.DOTALL)


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression, or say what is wrong with it."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SelectorError(f"not a regular expression: {error}", where=pattern, fix="Mend it, or quote it.") from error


def _where(model: Model, test: Callable[[str, ir.Node], object]) -> set[str]:
    return {address for address, node in model.nodes.items() if test(address, node)}


def _by_name(model: Model, value: str) -> set[str]:
    if value in model.nodes:
        return {value}
    pattern = _glob(value)
    return _where(model, lambda address, _: pattern.fullmatch(address))


def _by_regex(model: Model, value: str) -> set[str]:
    pattern = compiled(value)
    return _where(model, lambda address, _: pattern.search(address))


def _by_op(model: Model, value: str) -> set[str]:
    pattern = _glob(value)
    return {
        address
        for (domain, op), addresses in model.operators.items()
        if pattern.fullmatch(op) or (domain and pattern.fullmatch(f"{domain}.{op}"))
        for address in addresses
    }


def _by_scope(model: Model, value: str) -> set[str]:
    pattern = _glob(re.sub(r"/\*{0,2}$", "", value), levels=True)
    inside = {scope for scope in _scope_names(model) if pattern.fullmatch(scope)}
    return _where(model, lambda address, _: any(scope in inside for scope in _scopes(address)))


def _by_dtype(model: Model, value: str) -> set[str]:
    dtype = DTYPES.get(value.lower(), value.upper())
    return _where(model, lambda _, node: dtype in _dtypes(model, node))


def _by_having(model: Model, value: str) -> set[str]:
    if value == "weights":
        return set(model.weights)
    if value == "subgraph":
        return _where(model, lambda _, node: any(a.type.name.startswith("GRAPH") for a in node.attributes.values()))
    raise SelectorError("a node has weights or a subgraph", where=f"has:{value}", fix="Write has:weights.")


def _readers(model: Model, test: Callable[[str], object]) -> set[str]:
    name = model.index.tensor
    return _where(model, lambda _, node: any(v is not None and v.name and test(name(v)) for v in node.inputs))


def _makers(model: Model, test: Callable[[str], object]) -> set[str]:
    name = model.index.tensor
    return _where(model, lambda _, node: any(v.name and test(name(v)) for v in node.outputs))


def on_path(model: Model, start: str, end: str) -> set[str]:
    """Return the nodes on a path from one tensor to another."""
    first = _readers(model, lambda tensor: tensor == start)
    last = _makers(model, lambda tensor: tensor == end)
    return (first | model.index.downstream(first)) & (last | model.index.upstream(last))


def _scopes(address: str) -> Iterator[str]:
    while address := scope_of(address):
        yield address


def _dtypes(model: Model, node: ir.Node) -> set[str | None]:
    return {model.tensor(model.index.tensor(value)).dtype for value in node.outputs}


def _op_names(model: Model) -> Iterator[str]:
    for domain, op in model.operators:
        yield op
        if domain:
            yield f"{domain}.{op}"


def _scope_names(model: Model) -> set[str]:
    return {scope for address in model.nodes for scope in _scopes(address)}


def tensor_names(model: Model) -> Iterator[str]:
    """Yield the names of all tensors that nodes read or make."""
    name = model.index.tensor
    for node in model.nodes.values():
        yield from (name(v) for v in (*node.inputs, *node.outputs) if v is not None and v.name)


DTYPES = {"float32": "FLOAT", "fp32": "FLOAT", "fp16": "FLOAT16", "bf16": "BFLOAT16", "fp64": "DOUBLE"}

KEYS: dict[str, Callable[[Model, str], set[str]]] = {
    "name": _by_name,
    "re": _by_regex,
    "op": _by_op,
    "scope": _by_scope,
    "dtype": _by_dtype,
    "has": _by_having,
    "reads": lambda model, value: _readers(model, _glob(value).fullmatch),
    "makes": lambda model, value: _makers(model, _glob(value).fullmatch),
}

WORDS: dict[str, Callable[[Model], Iterable[str]]] = {
    "name": lambda model: model.nodes,
    "re": lambda _: (),
    "op": _op_names,
    "scope": _scope_names,
    "dtype": lambda model: {d for node in model.nodes.values() for d in _dtypes(model, node) if d is not None},
    "has": lambda _: ("weights", "subgraph"),
    "reads": tensor_names,
    "makes": tensor_names,
}
"""Where a misspelt value's near names come from."""

RELATIONS: dict[str, Callable[[Model, set[str]], set[str]]] = {
    "upstream": lambda model, start: model.index.upstream(start),
    "downstream": lambda model, start: model.index.downstream(start),
    "consumers": lambda model, start: {name for address in start for name in model.index.successors[address]},
    "producers": lambda model, start: {name for address in start for name in model.index.predecessors[address]},
}


_SHORTEST_HELD = 3


def similar(value: str, words: Iterable[str]) -> list[str]:
    """Return up to three words like a value: those that contain it, those spelt like it, those in it."""
    words = list(words)
    plain = value.replace("*", "").replace("?", "").lower()
    holding = [word for word in words if plain and plain in word.lower()]
    lower = {word.lower(): word for word in words}
    spelt = [lower[word] for word in difflib.get_close_matches(plain, lower, n=3, cutoff=0.6)]
    held = [word for word in words if len(word) >= _SHORTEST_HELD and word.lower() in plain]
    return list(dict.fromkeys([*sorted(holding, key=len), *spelt, *sorted(held, key=len, reverse=True)]))[:3]
