"""What fuses into what, and what expands into what, as text; `pattern.py` says how to read it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EXPANSIONS", "FUSIONS", "Rewrite"]


class Rewrite(NamedTuple):
    """Patterns, any of which becomes the replacement.

    Parameters
    ----------
    opset
        The first operator set that has the replacement.
    patterns
        Spellings of the same function.
    replacement
        What takes their place.
    spans
        Constants that the replacement wants in the very shape of the last ``@n`` axes.
    until
        The last operator set in which ONNX Runtime runs the replacement; ``None`` where it runs it in all.
    """

    opset: int
    patterns: tuple[str, ...]
    replacement: str
    spans: tuple[str, ...] = ()
    until: int | None = None

    def offered(self, opset: int) -> bool:
        """Say whether a model of an operator set can have the replacement, and run."""
        return self.opset <= opset and (self.until is None or opset <= self.until)


# 0.5 x (1 + erf(x / sqrt 2)): Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", in three orders of products.
ERF = """
    d = Div(x, 1.4142135) | Mul(x, 0.70710678)
    e = Erf(d)
    a = Add(e, 1)
"""
# The tanh approximation of the same paper.
TANH = """
    c = Pow(x, 3)
    k = Mul(c, 0.044715)
    s = Add(x, k)
    t = Mul(s, 0.79788456)
    h = Tanh(t)
    a = Add(h, 1)
"""
PRODUCTS = (
    "m = Mul(x, a) \n y = Mul(m, 0.5)",
    "m = Mul(x, 0.5) \n y = Mul(m, a)",
    "m = Mul(a, 0.5) \n y = Mul(x, m)",
)

# Ba, Kiros and Hinton 2016, "Layer Normalization", over the last axes, however many.
NORMALIZED = """
    m = ReduceMean{axes=last@n, keepdims=1}(x)
    d = Sub(x, m)
    s = Pow(d, 2) | Mul(d, d)
    v = ReduceMean{axes=last@n, keepdims=1}(s)
    e = Add(v, $eps)
    r = Sqrt(e)
    n = Div(d, r)
    w = Mul(n, $scale)
    y = Add(w, $bias)
"""

FUSIONS: dict[str, Rewrite] = {
    "gelu": Rewrite(20, tuple(ERF + product for product in PRODUCTS), "y = Gelu(x)"),
    "gelu_tanh": Rewrite(20, tuple(TANH + product for product in PRODUCTS), "y = Gelu{approximate=tanh}(x)"),
    # ONNX Runtime 1.32 has no kernel for Swish; it spells it out as ONNX defines it, in operator set 24 alone.
    "silu": Rewrite(24, ("s = Sigmoid(x) \n y = Mul(x, s)",), "y = Swish(x)", until=24),
    "layer_norm": Rewrite(
        17,
        (NORMALIZED,),
        "y = LayerNormalization{axis=last@n, epsilon=$eps}(x, $scale, $bias)",
        spans=("$scale", "$bias"),
    ),
}

EXPANSIONS: dict[str, Rewrite] = {
    "gelu": Rewrite(
        9,
        ("y = Gelu{approximate=none}(x)", "y = com.microsoft::Gelu(x)"),
        "d = Div(x, 1.4142135623730951) \n e = Erf(d) \n a = Add(e, 1) \n m = Mul(x, a) \n y = Mul(m, 0.5)",
    ),
    "gelu_tanh": Rewrite(
        9,
        ("y = Gelu{approximate=tanh}(x)",),
        "c = Pow(x, 3) \n k = Mul(c, 0.044715) \n s = Add(x, k) \n t = Mul(s, 0.7978845608028654) \n h = Tanh(t) \n"
        "a = Add(h, 1) \n m = Mul(x, a) \n y = Mul(m, 0.5)",
    ),
    "silu": Rewrite(
        6, ("y = Swish{alpha=1}(x)", "y = com.microsoft::QuickGelu{alpha=1}(x)"), "s = Sigmoid(x) \n y = Mul(x, s)"
    ),
    "layer_norm": Rewrite(
        7,
        ("y = LayerNormalization{axis=last@n, epsilon=@eps}(x, scale, bias)",),
        "m = ReduceMean{axes=last@n}(x) \n d = Sub(x, m) \n s = Mul(d, d) \n v = ReduceMean{axes=last@n}(s) \n"
        "e = Add(v, @eps) \n r = Sqrt(e) \n n = Div(d, r) \n w = Mul(n, scale) \n y = Add(w, bias)",
    ),
}
