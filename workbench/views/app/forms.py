"""What the screen asks for before something runs: samples near by, how images become inputs, and a look at one."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from workbench.calibration import IMAGE_ENDINGS, Preprocessing, feeds, first_samples, stated_preprocessing
from workbench.errors import SamplesError
from workbench.names import DEFAULT_METHOD, METHODS, BackendName
from workbench.precision.plan import PRESETS
from workbench.session import GOOD_SQNR, LOW_SQNR, history_of, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.session import Workbench

__all__ = ["Forms", "Reading"]

MOST_SOURCES = 24
MOST_FOLDERS = 200
PREPROCESSINGS = (
    ("RGB, 0 to 1", "color=RGB,scale=1/255"),
    ("RGB, about -1 to 1: (x - 127) / 128", "color=RGB,scale=1,mean=127,std=128"),
    ("RGB, ImageNet's mean and deviation", "color=RGB,scale=1/255,mean=0.485/0.456/0.406,std=0.229/0.224/0.225"),
    ("RGB, 0 to 255", "color=RGB,scale=1"),
    ("BGR, 0 to 255", "color=BGR,scale=1"),
    ("grey, 0 to 1", "color=GRAY,scale=1/255"),
)
"""How models are commonly fed. Which one is right, only whoever trained the model knows."""


class Reading(NamedTuple):
    """Samples as a person named them, and how images become inputs."""

    source: str
    how: str | None


class Forms:
    """The forms of the steps.

    Parameters
    ----------
    wb
        The workbench.
    """

    def __init__(self, wb: Workbench) -> None:
        self.workbench = wb

    def state(self) -> dict[str, Any]:
        """Return what the forms offer."""
        dynamic = [
            tensor for tensor in self.workbench.model.inputs if tensor.shape and isinstance(tensor.shape[0], str)
        ]
        return {
            "sources": _near(self.workbench),
            "preprocessings": [list(one) for one in PREPROCESSINGS],
            "methods": list(METHODS),
            "method": DEFAULT_METHOD,
            "presets": list(PRESETS),
            "measures": ["nothing", *get_args(BackendName)],
            "batch": 8 if dynamic else 1,
            "goal": self._goal(),
        }

    def _goal(self) -> float:
        """Return the SQNR that a search is asked for at first: what the verdict says to search for."""
        comparison = history_of(self.workbench).figures.comparison
        return LOW_SQNR if comparison is not None and comparison.worst_sqnr_db < LOW_SQNR else GOOD_SQNR

    def read(self, samples: str, preprocessing: str) -> Reading:
        """Return what a form says.

        Raises
        ------
        SamplesError
            No samples are named.
        """
        if not samples.strip():
            raise SamplesError("no samples are named", fix="Give an .npz, an .npy or a folder of images.")
        return Reading(str(Path(samples.strip()).expanduser()), preprocessing.strip() or None)

    def peek(self, samples: str, preprocessing: str) -> dict[str, Any]:
        """Return what the model would see of the first sample: a picture where it is one, and its numbers.

        Raises
        ------
        SamplesError
            The samples cannot be had, or nothing states how these images become inputs.
        """
        reading = self.read(samples, preprocessing)
        data = opened(history_of(self.workbench), reading.source, reading.how)
        model = self.workbench.model
        feed = next(iter(feeds(first_samples(data, 1), model)))
        name, array = next(iter(feed.arrays.items()))
        how = data.describe().get("preprocessing")
        how_text = Preprocessing.of(how).text() if how else "as they are in the file"
        low, high = float(array.min()), float(array.max())
        described = f"{len(data)} samples; {name} {'×'.join(map(str, array.shape))}, values {low:.4g} to {high:.4g}"
        return {"text": described, "how": how_text, "picture": _picture(array, how or {})}


def _near(wb: Workbench) -> list[dict[str, str]]:
    """Return samples beside the notebook and beside the model: files of arrays, and folders of images."""
    places = [Path.cwd()]
    if wb.source.path is not None:
        places.append(wb.source.path.resolve().parent)
    files: dict[str, dict[str, str]] = {}
    for place in dict.fromkeys(places):
        for path in _paths(place):
            relative = os.path.relpath(path)
            kind = "folder of images" if path.is_dir() else "arrays"
            stated = stated_preprocessing(path) if path.is_dir() else None
            files[relative] = {"path": relative, "kind": kind, "how": "" if stated is None else stated.text()}
    return list(files.values())[:MOST_SOURCES]


def _paths(place: Path) -> Iterator[Path]:
    folders = [place]
    try:
        folders += sorted(one for one in place.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError:
        return
    for folder in folders[:MOST_FOLDERS]:
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        yield from (one for one in entries if one.suffix in {".npz", ".npy"})
        if folder != place and any(one.suffix.lower() in IMAGE_ENDINGS for one in entries):
            yield folder
        if folder != place:
            yield from (
                one
                for one in entries[:MOST_FOLDERS]
                if one.is_dir() and any(two.suffix.lower() in IMAGE_ENDINGS for two in _some(one))
            )


def _some(folder: Path) -> list[Path]:
    try:
        return [one for one, _ in zip(folder.iterdir(), range(20), strict=False)]
    except OSError:
        return []


def _picture(array: np.ndarray[Any, Any], how: dict[str, Any]) -> str:
    """Return what a model is fed as a PNG in base64, all its values stretched to black and white; none is empty."""
    from PIL import Image

    if array.ndim != 4 or array.dtype.kind not in "fiu":
        return ""
    one = array[0].astype(np.float64)
    if how.get("layout", "CHW") == "CHW" and one.shape[0] in {1, 3}:
        one = one.transpose(1, 2, 0)
    if one.shape[-1] not in {1, 3} or not np.isfinite(one).all():
        return ""
    low, high = one.min(), one.max()
    pixels = np.rint((one - low) / (high - low or 1.0) * 255).astype(np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((220, 160))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
