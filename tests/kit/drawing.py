"""Measuring a drawing the same way whoever drew it."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import numpy as np

PIECE = 16
"""Segments of a polyline that are looked at together."""


def bend(points):
    """Sample a path with vertical tangents as the renderers draw it."""
    out = [np.asarray(points[:1], float)]
    t = np.linspace(0, 1, 9)[1:, None]
    for a, b in itertools.pairwise(points):
        (x0, y0), (x1, y1) = a, b
        mid = (y0 + y1) / 2
        p = [np.array(q, float) for q in ((x0, y0), (x0, mid), (x1, mid), (x1, y1))]
        out.append((1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t**2 * p[2] + t**3 * p[3])
    return np.concatenate(out)


def crossings(lines, edges):
    """Count pairs of edges without a common end whose polylines meet; each is cut in pieces that lie in small boxes."""
    pieces, owners = [], []
    for line, edge in zip(lines, edges, strict=True):
        for start in range(0, len(line) - 1, PIECE):
            pieces.append(line[start : start + PIECE + 1])
            owners.append(edge)
    boxes, ends = np.array([[*piece.min(0), *piece.max(0)] for piece in pieces]), np.array(owners)
    total = 0
    for i in range(len(pieces) - 1):
        others = boxes[i + 1 :]
        near = i + 1 + np.flatnonzero(((boxes[i, :2] <= others[:, 2:]) & (others[:, :2] <= boxes[i, 2:])).all(1))
        apart = (ends[near][:, :, None] != ends[i]).all((1, 2))
        total += sum(meet(pieces[i], pieces[j]) for j in near[apart])
    return total


def meet(a, b):
    p, r = a[:-1, None], (a[1:] - a[:-1])[:, None]
    q, s = b[None, :-1], (b[1:] - b[:-1])[None]

    def cross(u, v):
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    den = cross(r, s)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, u = cross(q - p, s) / den, cross(q - p, r) / den
    return int(((t >= 0) & (t < 1) & (u >= 0) & (u < 1)).sum())


def dot(widths, heights, edges):
    """Return the same measure for Graphviz, or None where it is not installed."""
    if shutil.which("dot") is None:
        return None
    lines = ['digraph{node[shape=box fixedsize=true label=""];']
    lines += [
        f"n{i}[width={w / 72:.3f} height={h / 72:.3f}];" for i, (w, h) in enumerate(zip(widths, heights, strict=True))
    ]
    lines += [f"n{a}->n{b};" for a, b in edges] + ["}"]
    out = subprocess.run(["dot", "-Tplain"], input="\n".join(lines), capture_output=True, text=True, check=True).stdout  # noqa: S607
    drawn, ends = [], []
    for line in out.replace("\\\n", "").splitlines():
        part = line.split()
        if part[0] != "edge":
            continue
        n = int(part[3])
        knots = np.array(part[4 : 4 + 2 * n], float).reshape(n, 2)
        t = np.linspace(0, 1, 9)[:, None]
        pieces = [
            (1 - t) ** 3 * k[0] + 3 * (1 - t) ** 2 * t * k[1] + 3 * (1 - t) * t**2 * k[2] + t**3 * k[3]
            for k in (knots[i : i + 4] for i in range(0, n - 3, 3))
        ]
        drawn.append(np.concatenate(pieces))
        ends.append((int(part[1][1:]), int(part[2][1:])))
    return crossings(drawn, ends)
