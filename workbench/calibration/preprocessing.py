"""How an image becomes an input of a model."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator

from workbench.display import counted
from workbench.errors import SamplesError, WorkbenchError
from workbench.limits import check

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from PIL import Image
    from typing_extensions import Self

    from workbench.calibration.samples import Array
    from workbench.graph import Model

__all__ = ["PREPROCESSING_FILE", "Preprocessing", "stated_preprocessing"]

PREPROCESSING_FILE = "preprocess.json"
"""Where a folder of images says how they become inputs: in it, or beside it."""


class Preprocessing(BaseModel):
    """How an image becomes an input: ``(pixel * scale - mean) / std`` of the image stretched to `size`.

    Parameters
    ----------
    size
        Height and width in pixels; the model's own where left out.
    layout
        Order of the axes of one sample.
    color
        Order of the channels; ``GRAY`` makes one channel (ITU-R 601-2 luma).
    scale, mean, std
        Applied to pixel values 0 to 255; `mean` and `std` are one number, or one a channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[PositiveInt, PositiveInt] | None = None
    layout: Literal["CHW", "HWC"] = "CHW"
    color: Literal["RGB", "BGR", "GRAY"] = "RGB"
    scale: float = 1.0 / 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        channels = 1 if self.color == "GRAY" else 3
        for name in ("mean", "std"):
            many = self._many(name)
            if len(many) not in (1, channels) or not all(map(math.isfinite, many)):
                raise ValueError(f"{name}: give one number, or one for each of {counted(channels, 'channel')}")
        if 0 in self.std:
            raise ValueError("std: nothing can be divided by 0")
        if not (math.isfinite(self.scale) and self.scale):
            raise ValueError(f"scale: {self.scale:g} leaves nothing of an image")
        return self

    @classmethod
    def parse(cls, text: str) -> Preprocessing:
        """Read the command line's form: ``size=240x320,color=BGR,scale=1,mean=127,std=128``.

        ``mean=1/2/3`` is one a channel, and ``scale=1/255`` a fraction.

        Raises
        ------
        SamplesError
            A part that is not ``key=value``, an unknown key or a value that is none.
        """
        fields: dict[str, Any] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            key, equals, value = part.partition("=")
            if not equals:
                raise SamplesError(
                    f"{part!r} is not key=value", where="preprocessing", fix="Write for example scale=1."
                )
            if key == "size":
                fields[key] = value.lower().split("x")
            elif key == "scale":
                fields[key] = _fraction(value)
            else:
                fields[key] = value.split("/") if key in ("mean", "std") else value
        return cls.of(fields)

    def text(self) -> str:
        """Return it in the form that `parse` reads."""
        parts = [f"color={self.color}", f"scale={'1/255' if self.scale == 1.0 / 255.0 else f'{self.scale:g}'}"]
        parts += [f"{name}={'/'.join(f'{one:g}' for one in self._many(name))}" for name in ("mean", "std")]
        parts += [] if self.layout == "CHW" else [f"layout={self.layout}"]
        return ",".join([*parts, *([] if self.size is None else [f"size={self.size[0]}x{self.size[1]}"])])

    def _many(self, name: str) -> tuple[float, ...]:
        many: tuple[float, ...] = getattr(self, name)
        return many

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Preprocessing:
        """Make it of its fields, as a recipe keeps them.

        Raises
        ------
        SamplesError
            A field is not known, or its value cannot be.
        """
        options = {
            key: (value,) if isinstance(value, (int, float)) and key in {"mean", "std"} else value
            for key, value in fields.items()
        }
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            first = error.errors()[0]
            what = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
            if not first["loc"]:
                what = first["msg"].removeprefix("Value error, ")
            elif first["loc"][0] == "size":
                what = f"size: {_written(fields['size'])} is not HEIGHTxWIDTH"
            elif first["type"].endswith("_parsing"):
                what = f"{first['loc'][0]}: {first['input']} is not a number"
            elif first["type"] == "extra_forbidden":
                what = f"{first['loc'][0]}: there is no such key"
            raise SamplesError(
                what,
                where="preprocessing",
                fix=f"Known keys: {', '.join(cls.model_fields)}.",
            ) from error

    def sized_for(self, model: Model) -> Preprocessing:
        """Return this with `size` filled in from the model's only input.

        Raises
        ------
        SamplesError
            The model has several inputs, or a dynamic size and none is given.
        """
        if self.size is not None:
            return self
        shape = model.inputs[0].shape if len(model.inputs) == 1 else None
        if shape is not None and len(shape) == 4:  # batch, and the three axes of an image
            height, width = shape[2:] if self.layout == "CHW" else shape[1:3]
            if isinstance(height, int) and isinstance(width, int):
                return self.model_copy(update={"size": (height, width)})
        raise SamplesError(
            "the image size cannot be read off the model",
            where=", ".join(str(tensor) for tensor in model.inputs),
            fix="Give it: size=HEIGHTxWIDTH.",
        )

    def apply(self, path: Path, dtype: np.dtype[Any]) -> Array:
        """Read one image as an array of `dtype`, axes as in `layout`."""
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # our own limit can be raised

        if self.size is None:
            raise SamplesError("the image size is not known", where=path, fix="Give it: size=HEIGHTxWIDTH.")
        try:
            with Image.open(path) as image:
                megapixels = image.width * image.height / 1e6
                check("image_megapixels", megapixels, SamplesError, where=path)
                return self.array_of(image, dtype)
        except WorkbenchError:
            raise
        except FileNotFoundError as error:
            raise SamplesError(
                "no such image here", where=path, fix="Where another machine reads it, the folder has to be there, too."
            ) from error
        except Exception as error:  # every format has a decoder of its own, which raises what it likes
            raise SamplesError(
                "not a readable image", where=path, fix="Remove it from the folder, or save it again."
            ) from error

    def array_of(self, image: Image.Image, dtype: np.dtype[Any]) -> Array:
        """Return an opened image as an array of `dtype`, axes as in `layout`; raises what its decoder does."""
        from PIL import Image

        if self.size is None:
            raise SamplesError("the image size is not known", fix="Give it: size=HEIGHTxWIDTH.")
        mode = "L" if self.color == "GRAY" else "RGB"
        pixels = np.asarray(image.convert(mode).resize(self.size[::-1], Image.Resampling.BILINEAR), np.float32)
        pixels = pixels.reshape(*self.size, -1)
        if self.color == "BGR":
            pixels = pixels[:, :, ::-1]
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        values = (pixels * np.float32(self.scale) - mean) / std
        return np.asarray(values.transpose(2, 0, 1) if self.layout == "CHW" else values, dtype, order="C")


def _written(size: Any) -> str:
    return "x".join(map(str, size)) if isinstance(size, (list, tuple)) else str(size)


def _fraction(value: str) -> float | str:
    """Read ``1/255``; what is none stays a text, which is refused with the other values."""
    above, slash, below = value.partition("/")
    try:
        return float(above) / float(below) if slash else value
    except (ValueError, ZeroDivisionError):
        return value


def stated_preprocessing(folder: Path) -> Preprocessing | None:
    """Return what ``preprocess.json`` in a folder of images, or beside it, says; ``None`` where there is none.

    Raises
    ------
    SamplesError
        It cannot be read, or says something unknown.
    """
    file = next(
        (file for file in (folder / PREPROCESSING_FILE, folder.parent / PREPROCESSING_FILE) if file.is_file()), None
    )
    if file is None:
        return None
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SamplesError(
            "not readable as JSON", where=file, fix='Write for example {"scale": 1, "mean": [127]}.'
        ) from error
    if not isinstance(fields, dict):
        raise SamplesError("not an object of fields", where=file, fix='Write for example {"scale": 1, "mean": [127]}.')
    return Preprocessing.of(fields)
