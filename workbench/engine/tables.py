"""Tables of an engine beyond its layers: convolutions, tactics, memory, kinds and precisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.engine.traits import conv_shape, kind_of_layer, layer_precision, tensor_cores
from workbench.engine.work import layer_bytes, layer_ops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

    from workbench.engine.report import EngineReport, EngineTensor, Layer

__all__ = ["convolutions_table", "kinds_table", "memory_table", "precisions_table", "tactics_table"]

_CONVOLUTION = (
    *("layer", "nodes", "ms", "precision", "kernel", "stride", "dilation", "groups", "in_channels", "out_channels"),
    *("activation", "input", "output", "ops", "bytes", "ops_per_byte", "tops", "gb_per_s", "tensor_cores", "tactic"),
)


def convolutions_table(report: EngineReport) -> pd.DataFrame:
    """Return one row a convolution or matrix product: what it computes, how fast, and by which kernel.

    `ops` counts a multiply-add as two; `bytes` are inputs, outputs and weights once each; `tops` is 10^12 operations a
    second and `gb_per_s` 10^9 bytes a second. What the file does not tell is missing.
    """
    import pandas as pd

    rows = [_convolution(layer) for layer in report.layers if kind_of_layer(layer) in {"conv", "matmul"}]
    table = pd.DataFrame(rows, columns=list(_CONVOLUTION))
    whole = dict.fromkeys(("groups", "in_channels", "out_channels", "ops", "bytes"), "Int64")
    real = dict.fromkeys(("ms", "ops_per_byte", "tops", "gb_per_s"), "float64")
    result: pd.DataFrame = table.astype(whole | real | {"tensor_cores": "boolean"})
    return result


def _convolution(layer: Layer) -> dict[str, Any]:
    shape, ops, size = conv_shape(layer), layer_ops(layer), layer_bytes(layer)
    seconds = None if not layer.ms else layer.ms / 1e3
    conv = kind_of_layer(layer) == "conv"
    activation = _attribute(layer, "Activation")
    return {
        "layer": layer.name,
        "nodes": " + ".join(layer.sources),
        "ms": layer.ms,
        "precision": layer_precision(layer).name,
        **{name: _sizes(_attribute(layer, name.capitalize())) for name in ("kernel", "stride", "dilation")},
        "groups": shape.groups if conv else None,
        "in_channels": shape.in_channels if conv else None,
        "out_channels": shape.out_channels,
        "activation": activation.lower() if isinstance(activation, str) else None,
        "input": _format(layer.inputs),
        "output": _format(layer.outputs),
        "ops": ops,
        "bytes": size,
        "ops_per_byte": ops / size if ops and size else None,
        "tops": ops / seconds / 1e12 if ops and seconds else None,
        "gb_per_s": size / seconds / 1e9 if size and seconds else None,
        "tensor_cores": tensor_cores(layer),
        "tactic": layer.tactic,
    }


def _attribute(layer: Layer, key: str) -> Any:
    """Return an attribute; a layer of several operations spells it with its part in front."""
    values = (layer.attributes.get(prefix + key) for prefix in ("", "Conv", "PointWiseConv"))
    return next((value for value in values if value is not None), None)


def _sizes(raw: Any) -> str | None:
    return "x".join(map(str, raw)) if isinstance(raw, list) and raw else None


def _format(tensors: tuple[EngineTensor, ...]) -> str | None:
    return tensors[0].format.short if tensors else None


def tactics_table(report: EngineReport) -> pd.DataFrame:
    """Return one row a tactic: how many layers run it, milliseconds, and whether its name tells of Tensor Cores."""

    def more(layers: list[Layer]) -> dict[str, Any]:
        return {"kind": kind_of_layer(layers[0]), "tensor_cores": tensor_cores(layers[0])}

    return _grouped(report.layers, "tactic", lambda layer: layer.tactic, more, {"tensor_cores": "boolean"})


def kinds_table(report: EngineReport) -> pd.DataFrame:
    """Return one row a kind of layer: layers, milliseconds, bytes of weights; kinds that only move data are told so."""
    moves = {"reformat", "qdq", "cast", "shuffle", "slice", "noop"}

    def more(layers: list[Layer]) -> dict[str, Any]:
        sizes = [layer.weight_bytes for layer in layers]
        return {
            "weight_bytes": None if None in sizes else sum(size or 0 for size in sizes),
            "moves_only": kind_of_layer(layers[0]) in moves,
        }

    return _grouped(report.layers, "kind", kind_of_layer, more, {"weight_bytes": "Int64"})


def precisions_table(report: EngineReport) -> pd.DataFrame:
    """Return one row a computing precision: layers, milliseconds."""
    return _grouped(report.layers, "precision", lambda layer: layer_precision(layer).name, lambda _: {}, {})


def memory_table(report: EngineReport) -> pd.DataFrame:
    """Return one row a layer: bytes of its weights, inputs and outputs, and of all three; missing where not told."""
    import pandas as pd

    rows = [
        {
            "layer": layer.name,
            "kind": kind_of_layer(layer),
            "weight_bytes": layer.weight_bytes,
            "input_bytes": _sum(layer.inputs),
            "output_bytes": _sum(layer.outputs),
            "bytes": layer_bytes(layer),
        }
        for layer in report.layers
    ]
    sizes = ["weight_bytes", "input_bytes", "output_bytes", "bytes"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=["layer", "kind", *sizes]).astype(dict.fromkeys(sizes, "Int64"))
    return table


def _sum(tensors: Iterable[EngineTensor]) -> int | None:
    sizes = [tensor.nbytes for tensor in tensors]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _grouped(
    layers: Iterable[Layer],
    name: str,
    key: Callable[[Layer], str | None],
    more: Callable[[list[Layer]], dict[str, Any]],
    kinds: dict[str, str],
) -> pd.DataFrame:
    """Return layers and milliseconds of each group, the slowest first; what has no name is unknown."""
    import pandas as pd

    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(key(layer) or "unknown", []).append(layer)
    total = sum(layer.ms or 0.0 for inside in groups.values() for layer in inside)
    rows = []
    for label, inside in groups.items():
        times = [layer.ms for layer in inside if layer.ms is not None]
        ms = sum(times) if times else None
        percent = None if ms is None or not total else 100 * ms / total
        rows.append({name: label, "layers": len(inside), "ms": ms, "percent": percent, **more(inside)})
    columns = [name, "layers", "ms", "percent", *([] if not rows else list(rows[0])[4:])]
    table = pd.DataFrame(rows, columns=columns)
    kinds = {"ms": "float64", "percent": "float64", **kinds}
    table = table.astype({column: kind for column, kind in kinds.items() if column in table})
    ordered: pd.DataFrame = table.sort_values(["ms", "layers"], ascending=False, ignore_index=True)
    return ordered
