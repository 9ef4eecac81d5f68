"""An image in, classes or detections out: preprocessing as in calibration, and what is made of the outputs."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from workbench.errors import OptionError
from workbench.handoff.service.request_error import RequestError
from workbench.handoff.service.tensors import dtype_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from workbench.calibration import Preprocessing
    from workbench.handoff.deployment import Deployment
    from workbench.handoff.service.postprocessing import Postprocessing

__all__ = ["FORMATS", "Images", "images_of"]

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""What is decoded; Pillow knows sixty more, some of which start programs."""
MEGAPIXELS = 25


@dataclass(frozen=True)
class Images:
    """How a model takes images.

    Parameters
    ----------
    input
        Its only input.
    dtype
        That input's type.
    preprocessing
        With the size filled in.
    postprocessing
        What is made of the outputs.
    """

    input: str
    dtype: np.dtype[Any]
    preprocessing: Preprocessing
    postprocessing: Postprocessing

    async def read(self, body: bytes) -> tuple[dict[str, NDArray[Any]], tuple[int, int]]:
        """Return the inputs that an image makes, and its height and width; decoding does not hold others up.

        Raises
        ------
        RequestError
            400, 413 or 415: no image, one that is too large, or of a format that is not decoded.
        """
        return await anyio.to_thread.run_sync(self._read, body, limiter=_limiter())

    def _read(self, body: bytes) -> tuple[dict[str, NDArray[Any]], tuple[int, int]]:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(body), formats=FORMATS) as image:
                _check_size(image)
                array = self.preprocessing.array_of(image, self.dtype)
                return {self.input: array[None]}, (image.height, image.width)
        except RequestError:
            raise
        except UnidentifiedImageError:
            raise RequestError(415, "this is no image", fix=f"Send one of {', '.join(FORMATS)} as the body.") from None
        except Exception as error:  # every format has a decoder of its own, which raises what it likes
            raise RequestError(400, "the image cannot be decoded", fix="Save it again.") from error


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MEGAPIXELS * 1e6:
        what = f"the image has {image.width} x {image.height} pixels, and {MEGAPIXELS} million are the most"
        raise RequestError(413, what, fix="Scale it down.")


def _limiter() -> anyio.CapacityLimiter:
    """Decode as many images at a time as there are processors: each takes memory by its pixels."""
    if not _limiters:
        _limiters.append(anyio.CapacityLimiter(os.cpu_count() or 1))
    return _limiters[0]


_limiters: list[anyio.CapacityLimiter] = []


def images_of(deployment: Deployment, preprocessing: Preprocessing | None, postprocessing: Postprocessing) -> Images:
    """Return how a model takes images.

    Parameters
    ----------
    deployment
        The model.
    preprocessing
        The calibration's where left out.
    postprocessing
        What is made of the outputs.

    Raises
    ------
    OptionError
        It has several inputs or a batch that is fixed, it is not known how an image becomes its input, or it has no
        such outputs.
    SamplesError
        The size of images cannot be read off the model.
    """
    chosen = preprocessing or deployment.preprocessing
    port = deployment.inputs[0]
    if len(deployment.inputs) != 1 or len(port.shape) != 4 or port.shape[0] > 1:
        raise OptionError(
            f"`postprocess`: {deployment.name} does not take one image: it has other inputs or another batch"
        )
    if chosen is None:
        raise OptionError("`preprocess`: calibration was not on images; say how one becomes an input")
    return Images(
        port.name,
        dtype_of(port.datatype),
        chosen.sized_for(deployment.model),
        postprocessing.checked(deployment.outputs),
    )
