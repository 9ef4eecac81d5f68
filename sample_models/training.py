"""What the training scripts share: one way to fit, to write the ONNX and to check it against what was trained."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch
from glyphs import HEIGHT, INPUT_NAME, SPLITS, pixels
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Course", "run"]


@dataclass(frozen=True)
class Course:
    """How long and how fast a model is trained.

    Attributes
    ----------
    epochs
        Passes over the training images.
    images
        Training images drawn for each width.
    widths
        Widths of the images; batches of different widths take turns at random.
    rate
        Peak learning rate of the one-cycle schedule.
    decay
        Weight decay of AdamW.
    batch
        Images a step.
    seed
        Of the weights and of the order of the batches.
    threads
        Threads of torch: the order of sums, and so the last bits of the weights, depends on them.
    """

    epochs: int = 4
    images: int = 50_000
    widths: tuple[int, ...] = (HEIGHT,)
    rate: float = 4e-3
    decay: float = 0.02
    batch: int = 128
    seed: int = 0
    threads: int = 2


def _normalize(grey: torch.Tensor) -> torch.Tensor:
    """As `glyphs.glyphs` does, on a batch."""
    return (grey[:, None].float() / 255.0 - 0.5) / 0.25


def _fit(module: nn.Module, course: Course) -> None:
    """Train in place: AdamW, one-cycle learning rate, label smoothing of 0.05."""
    pools = []
    for width in course.widths:
        grey, labels = pixels(course.images, SPLITS["train"], width=width)
        pools.append((torch.from_numpy(grey), torch.from_numpy(labels)))
    per_pool = course.images // course.batch
    steps = course.epochs * per_pool * len(pools)
    optimizer = torch.optim.AdamW(module.parameters(), lr=course.rate, weight_decay=course.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, course.rate, total_steps=steps, pct_start=0.2)
    objective = nn.CrossEntropyLoss(label_smoothing=0.05)
    shuffle = np.random.default_rng(course.seed)
    module.train()
    for epoch in range(course.epochs):
        began, right = time.perf_counter(), 0
        orders = [torch.from_numpy(shuffle.permutation(course.images)) for _ in pools]
        for turn in shuffle.permutation(per_pool * len(pools)):
            pool, place = divmod(int(turn), per_pool)
            chosen = orders[pool][place * course.batch : (place + 1) * course.batch]
            images, answers = pools[pool][0][chosen], pools[pool][1][chosen]
            logits = module(_normalize(images))
            optimizer.zero_grad(set_to_none=True)
            objective(logits, answers).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            right += int((logits.argmax(1) == answers).sum())
        share = right / (per_pool * len(pools) * course.batch)
        print(f"epoch {epoch + 1}/{course.epochs}: {share:.1%} right in training, {time.perf_counter() - began:.0f} s")
    module.eval()


def run(
    script: str, build: Callable[[], nn.Module], write: Callable[[nn.Module], onnx.ModelProto], course: Course
) -> None:
    """Train a model and write it beside its script.

    Parameters
    ----------
    script
        The script's ``__file__``; the model is written as the same name with ``.onnx``.
    build
        Makes the untrained module.
    write
        Makes the ONNX model of the trained module.
    course
        How to train.

    Raises
    ------
    RuntimeError
        If ONNX Runtime computes from the file anything else than torch from the module.
    """
    torch.manual_seed(course.seed)
    torch.set_num_threads(course.threads)
    torch.use_deterministic_algorithms(mode=True)
    module = build()
    _fit(module, course)
    model = write(module)

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for width in course.widths:
        images = _normalize(torch.from_numpy(pixels(64, SPLITS["calibration"], width=width)[0]))
        with torch.no_grad():
            expected = module(images).numpy()
        (written,) = session.run(None, {INPUT_NAME: images.numpy()})
        apart = float(np.abs(expected - written).max())
        if apart > 1e-3:
            raise RuntimeError(f"{model.graph.name}: the ONNX file is off by {apart:.2g} from the trained module")
        print(f"ONNX Runtime and torch agree to {apart:.1e} on 64 images of width {width}")

    path = Path(script).with_suffix(".onnx")
    onnx.save(model, path)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
