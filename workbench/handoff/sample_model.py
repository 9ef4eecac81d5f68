"""What the notebooks run on where nothing else is given: a sample model, and images that are drawn for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from workbench.errors import WorkbenchError
from workbench.handoff.notebook import notebooks_home
from workbench.names import near

if TYPE_CHECKING:
    import os

__all__ = ["Example", "ImageFiles", "example"]


class ImageFiles(NamedTuple):
    """Images as arrays of the model's input, and one class index an image."""

    samples: Path
    labels: Path


class Example:
    """A sample model.

    Parameters
    ----------
    model
        The ``.onnx``.
    out
        The folder that images are drawn into.
    """

    def __init__(self, model: Path, out: Path) -> None:
        self.model, self.out = model, out

    def __repr__(self) -> str:
        return f"<Example {self.model.stem}>"

    def draw(self, split: Literal["train", "calibration", "test"], count: int) -> ImageFiles:
        """Draw images of letters and digits, the same ones everywhere.

        Parameters
        ----------
        split
            No image of one is in another.
        count
            How many.
        """
        folder = self.out / split
        script = self.model.with_name("glyphs.py")
        command = [sys.executable, str(script), "--split", split, "--count", str(count), "--out", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own script
        return ImageFiles(folder / "samples.npz", folder / "labels.npy")


def example(name: str = "residual_cnn", out: str | os.PathLike[str] = "out/data") -> Example:
    """Return one of the sample models that come with the package.

    Parameters
    ----------
    name
        ``residual_cnn``, ``depthwise_cnn``, ``recurrent`` or ``small_vit``.
    out
        The folder that images are drawn into, when they are asked for.

    Raises
    ------
    WorkbenchError
        There is no such model.
    """
    models = {path.stem: path for path in sorted((notebooks_home() / "sample_models").glob("*.onnx"))}
    if name not in models:
        raise WorkbenchError(f"there is no sample model {name!r}", fix=f"{near(name, models).capitalize()}")
    return Example(models[name], Path(out).resolve())
