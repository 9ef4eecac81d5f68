"""The data of the sample models: letters and digits in clutter, drawn from fonts, the same bytes for the same seed.

Glyphs come from TrueType fonts that ship with matplotlib, in random font, size, slant, rotation and place, among
strokes and parts of other glyphs, under random contrast, lighting and noise. Every image has its own random stream,
seeded with (seed, index), so a longer draw starts with the shorter one and splits share no stream.

Only NumPy, Pillow and matplotlib's font files are used. The command line writes what a workbench session reads:

    python sample_models/glyphs.py --split test --count 1000 --out out/test

makes ``samples.npz`` (one array an input, its key the input's name, first axis = samples) and ``labels.npy``.
"""

from __future__ import annotations

import argparse
import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLASSES", "HEIGHT", "INPUT_NAME", "SPLITS", "glyphs", "main", "pixels"]

CLASSES = "0123456789ABEKRS"
"""The label of an image is the position of its glyph in this string."""

HEIGHT = 32
"""Rows of an image, and its columns unless another width is asked for."""

INPUT_NAME = "image"
"""What every sample model calls its one input."""

SPLITS = {"train": 1, "calibration": 2, "test": 3}
"""The seed of each split."""

_STRANGERS = "CDFGHJLMNPQTUVWXYZ"  # seen in the clutter only, never a label
_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "cmr10",
    "cmss10",
    "cmtt10",
)
_SUPERSAMPLING = 2  # scenes are drawn at twice the size and averaged down, which smooths the strokes
_TILE = 64  # side of the square a master glyph is kept in
_MASTER = 40  # height of a master glyph in its tile


@lru_cache(maxsize=1)
def _masters() -> dict[str, list[Image.Image]]:
    """Every character in every font as a grey mask, centred in a square tile, all of one height."""
    from matplotlib import get_data_path

    folder = Path(get_data_path()) / "fonts" / "ttf"
    masters: dict[str, list[Image.Image]] = {}
    for font_name in _FONTS:
        # The basic layout engine is in every Pillow; the other one would tie the bytes to the libraries at hand.
        font = ImageFont.truetype(folder / f"{font_name}.ttf", _TILE, layout_engine=ImageFont.Layout.BASIC)
        for character in CLASSES + _STRANGERS:
            left, top, right, bottom = (int(edge) for edge in font.getbbox(character))
            drawn = Image.new("L", (right - left, bottom - top))
            ImageDraw.Draw(drawn).text((-left, -top), character, fill=255, font=font)
            width = min(_TILE, max(1, round(drawn.width * _MASTER / drawn.height)))
            tile = Image.new("L", (_TILE, _TILE))
            drawn = drawn.resize((width, _MASTER), Image.Resampling.BILINEAR)
            tile.paste(drawn, ((_TILE - width) // 2, (_TILE - _MASTER) // 2))
            masters.setdefault(character, []).append(tile)
    return masters


def _place(rng: np.random.Generator, character: str, centre: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    """One glyph in a random font, height, rotation and slant, as a mask of the scene's size."""
    fonts = _masters()[character]
    master = fonts[int(rng.integers(len(fonts)))]
    scale = _MASTER / (_SUPERSAMPLING * rng.uniform(12.5, 23.0))
    angle = math.radians(rng.uniform(-28.0, 28.0))
    slant = rng.uniform(-0.25, 0.25)
    stretch = rng.uniform(0.8, 1.2)
    # Pillow asks for the map from the scene back to the tile.
    a, b = scale * stretch * math.cos(angle), scale * stretch * math.sin(angle)
    c, d = -scale * math.sin(angle), scale * math.cos(angle)
    a, b = a + slant * c, b + slant * d
    x, y = centre
    half = _TILE / 2
    coefficients = (a, b, half - a * x - b * y, c, d, half - c * x - d * y)
    return master.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


def _strokes(rng: np.random.Generator, scene: Image.Image, most: int) -> None:
    """Draw up to `most` straight strokes across the scene."""
    pen = ImageDraw.Draw(scene)
    for _ in range(int(rng.integers(most + 1))):
        ends = [(rng.uniform(0, scene.width), rng.uniform(0, scene.height)) for _ in range(2)]
        pen.line(ends, fill=int(rng.integers(70, 256)), width=int(rng.integers(1, 4)))


def _scene(rng: np.random.Generator, width: int) -> tuple[NDArray[np.uint8], int]:
    """Draw one image of shape [32, width] and return it with its label."""
    size = (_SUPERSAMPLING * width, _SUPERSAMPLING * HEIGHT)
    label = int(rng.integers(len(CLASSES)))
    x = _SUPERSAMPLING * rng.uniform(min(12.0, width / 2), max(width - 12.0, width / 2))
    y = _SUPERSAMPLING * rng.uniform(12.0, HEIGHT - 12.0)

    scene = Image.new("L", size)
    strangers = CLASSES + _STRANGERS
    for _ in range(int(rng.integers(4))):
        # Far enough from the glyph to leave it whole, near enough to touch it.
        direction, distance = rng.uniform(0.0, 2 * math.pi), _SUPERSAMPLING * rng.uniform(13.0, 20.0)
        centre = (x + distance * math.cos(direction), y + distance * math.sin(direction))
        other = strangers[int(rng.integers(len(strangers)))]
        scene.paste(int(rng.integers(90, 256)), (0, 0), _place(rng, other, centre, size))
    _strokes(rng, scene, 2)
    scene.paste(255, (0, 0), _place(rng, CLASSES[label], (x, y), size))
    _strokes(rng, scene, 2)
    ink = np.asarray(scene.reduce(_SUPERSAMPLING), dtype=np.float64) / 255.0

    contrast = rng.uniform(0.28, 0.85)
    down, across = rng.uniform(-0.15, 0.15, size=2)
    light = down * np.linspace(-1.0, 1.0, HEIGHT)[:, None] + across * np.linspace(-1.0, 1.0, width)[None, :]
    sign = 1.0 if rng.integers(2) else -1.0
    grey = 0.5 + light + sign * contrast * (ink - 0.5) + rng.normal(0.0, rng.uniform(0.04, 0.17), size=ink.shape)
    return np.rint(np.clip(grey, 0.0, 1.0) * 255.0).astype(np.uint8), label


def pixels(
    count: int, seed: int, *, width: int = HEIGHT, start: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw images as a camera would deliver them.

    Parameters
    ----------
    count
        How many images.
    seed
        Which stream; see `SPLITS` for the seeds of the standard splits.
    width
        Columns of each image, at least 16. Wider ones hold one glyph, somewhere, and more background.
    start
        Index of the first image in the stream.

    Returns
    -------
    images, labels
        uint8 grey levels [count, 32, width] and int64 labels [count], indices into `CLASSES`.

    Raises
    ------
    ValueError
        If `count`, `seed` or `start` is negative or `width` is under 16.
    """
    if min(count, seed, start) < 0:
        raise ValueError(f"count, seed and start must not be negative: got {count}, {seed}, {start}")
    if width < HEIGHT // 2:
        raise ValueError(f"a glyph needs at least {HEIGHT // 2} columns: got a width of {width}")
    images = np.empty((count, HEIGHT, width), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    for index in range(count):
        images[index], labels[index] = _scene(np.random.default_rng([seed, start + index]), width)
    return images, labels


def glyphs(
    count: int, seed: int, *, width: int = HEIGHT, start: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw images as the sample models take them: grey level g becomes (g / 255 - 0.5) / 0.25, within [-2, 2].

    Parameters
    ----------
    count, seed, width, start
        As for `pixels`.

    Returns
    -------
    images, labels
        float32 [count, 1, 32, width] and int64 [count], indices into `CLASSES`.

    Raises
    ------
    ValueError
        As for `pixels`.
    """
    grey, labels = pixels(count, seed, width=width, start=start)
    return ((grey[:, None].astype(np.float32) / 255.0) - 0.5) / 0.25, labels


def main(arguments: list[str] | None = None) -> None:
    """Write samples.npz and labels.npy of a split into a folder."""
    parser = argparse.ArgumentParser(description="Draw the sample models' data.")
    parser.add_argument("--split", choices=sorted(SPLITS), required=True)
    parser.add_argument("--count", type=int, default=1000, help="images to draw (default 1000)")
    parser.add_argument("--width", type=int, default=HEIGHT, help="columns, for the recurrent model (default 32)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write samples.npz and labels.npy into")
    options = parser.parse_args(arguments)
    images, labels = glyphs(options.count, SPLITS[options.split], width=options.width)
    options.out.mkdir(parents=True, exist_ok=True)
    np.savez(options.out / "samples.npz", allow_pickle=False, **{INPUT_NAME: images})
    np.save(options.out / "labels.npy", labels)
    print(f"{options.out}: {options.count} images of the {options.split} split, {HEIGHT} x {options.width}")


if __name__ == "__main__":
    main()
