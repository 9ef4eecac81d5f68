"""Detections of a YOLOX head, and how many of them another model keeps."""

from __future__ import annotations

import numpy as np

SIZE, STRIDES = 416, (8, 16, 32)
SCORE, OVERLAP, SAME = 0.3, 0.45, 0.5


def detections(output: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Class and box of every detection in one image: score over 0.3, class-wise suppression at IoU 0.45.

    `output` is float32 [3549, 85]: offsets from the grid cell and logarithm of the size, both in strides, then
    objectness and class scores as probabilities (Ge et al. 2021, "YOLOX").
    """
    cells, strides = [], []
    for stride in STRIDES:
        side = np.arange(SIZE // stride)
        y, x = np.meshgrid(side, side, indexing="ij")
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((side.size**2, 1), stride))
    step = np.concatenate(strides)
    centre = (output[:, :2] + np.concatenate(cells)) * step
    with np.errstate(over="ignore"):  # what quantization broke may be any number
        half = np.exp(output[:, 2:4]) * step / 2
    boxes = np.concatenate([centre - half, centre + half], 1)
    scores = output[:, 4:5] * output[:, 5:]
    records = []
    for kind in range(scores.shape[1]):
        left = np.flatnonzero(scores[:, kind] > SCORE)
        left = left[np.argsort(-scores[left, kind], kind="stable")]
        while left.size:
            records.append((kind, boxes[left[0]]))
            left = left[1:][iou(boxes[left[0]], boxes[left[1:]]) <= OVERLAP]
    return records


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box [4] with others [N, 4], corners as x0, y0, x1, y1."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.clip(high - low, 0, None).prod(1)
    area = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return both / (area - both)


def kept(reference: list[tuple[int, np.ndarray]], test: list[tuple[int, np.ndarray]]) -> int:
    """How many detections of the reference the test has: same class, IoU 0.5 or more, each matched once."""
    free = list(test)
    count = 0
    for kind, box in reference:
        overlaps = [iou(box, other[None])[0] if same == kind else 0.0 for same, other in free]
        if overlaps and max(overlaps) >= SAME:
            free.pop(int(np.argmax(overlaps)))
            count += 1
    return count
