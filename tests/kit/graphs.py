"""Networks that the tests of the graph view share."""

from __future__ import annotations

from workbench.views.graphs.network import Network, Op, split_name


def chain(names_and_types, inputs=("x",)):
    """A chain: each operator takes the one before."""
    ops, last = [], inputs[0]
    for name, kind in names_and_types:
        scope, label = split_name(name, kind)
        ops.append(Op(name, kind, (last,), (f"{name}:0",), scope, label))
        last = f"{name}:0"
    return Network(ops, list(inputs), [last])


def decoder(layers=12, extra=()):
    """A small decoder with hierarchical names, a mask that feeds every layer and residual Adds."""
    ops = []

    def op(name, kind, *inputs):
        scope, label = split_name(name, kind)
        ops.append(Op(name, kind, inputs, (f"{name}:0",), scope, label))
        return f"{name}:0"

    mask = op("/mask/Cast", "Cast", "attention_mask")
    mask = op("/mask/Sub", "Sub", mask)
    x = op("/embed/Gather", "Gather", "input_ids")
    for at in range(layers):
        p = f"/layers.{at}"
        h = op(f"{p}/norm/LayerNormalization", "LayerNormalization", x)
        q = op(f"{p}/attn/q/MatMul", "MatMul", h)
        k = op(f"{p}/attn/k/MatMul", "MatMul", h)
        s = op(f"{p}/attn/MatMul", "MatMul", q, k)
        s = op(f"{p}/attn/Add", "Add", s, mask)
        s = op(f"{p}/attn/Softmax", "Softmax", s)
        a = op(f"{p}/attn/MatMul_1", "MatMul", s, h)
        x = op(f"{p}/Add", "Add", x, a)
        m = op(f"{p}/mlp/MatMul", "MatMul", x)
        m = op(f"{p}/mlp/Gelu", "Gelu", m)
        m = op(f"{p}/mlp/MatMul_1", "MatMul", m)
        x = op(f"{p}/Add_1", "Add", x, m)
        if at in extra:
            x = op(f"{p}/Identity", "Identity", x)
    y = op("/head/MatMul", "MatMul", x)
    return Network(ops, ["input_ids", "attention_mask"], [y])
