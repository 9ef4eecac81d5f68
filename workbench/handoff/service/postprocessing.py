"""From a model's outputs to what a person asks for: classes with their scores, or detections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workbench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from workbench.handoff.deployment import Port

__all__ = ["Postprocessing"]


class Postprocessing(BaseModel):
    """What is made of the outputs of one image.

    Parameters
    ----------
    kind
        ``classes``: the best of an output of scores. ``detections``: boxes that keep their distance, of an output of
        boxes and one of scores.
    top
        How many classes, or at most how many detections.
    scores
        The output of scores, [C] or, for detections, [A, C]; the first one where left out.
    softmax
        The scores are logits.
    boxes
        The output of boxes, [A, 4].
    form
        What the four are: ``corners`` x0, y0, x1, y1, or ``centres`` x, y, width, height.
    units
        ``relative``: parts of the image; ``pixels``: of the model's input.
    background
        The class that means nothing is there.
    threshold
        Detections of a lower score are left out.
    overlap
        Of two detections of a class whose intersection over union is larger, the one of the lower score is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classes", "detections"] = "classes"
    top: int = Field(default=5, ge=1)
    scores: str | None = None
    softmax: bool = False
    boxes: str | None = None
    form: Literal["corners", "centres"] = "corners"
    units: Literal["relative", "pixels"] = "relative"
    background: int | None = None
    threshold: float = 0.5
    overlap: float = 0.45

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "detections" and (self.boxes is None or self.scores is None):
            raise ValueError("detections are made of two outputs: name them in boxes and scores")
        return self

    @classmethod
    def parse(cls, text: str) -> Postprocessing:
        """Read the command line's form: ``kind=detections,boxes=boxes,scores=scores,background=0,threshold=0.7``.

        Raises
        ------
        OptionError
            A part is not ``key=value``, a key is not known, or a value cannot be.
        """
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        try:
            return cls.model_validate({key.strip(): value.strip() for key, _, value in pairs})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            what = first["msg"].removeprefix("Value error, ")
            raise OptionError(f"`postprocess`: {f'{place}: ' if place else ''}{what}") from None

    def checked(self, outputs: Sequence[Port]) -> Postprocessing:
        """Return this with its outputs filled in.

        Raises
        ------
        OptionError
            The model has no such output, or one of another rank.
        """
        ranks = {port.name: len(port.shape) for port in outputs}
        scores = self.scores or outputs[0].name
        expected = {scores: 2} if self.kind == "classes" else {scores: 3, str(self.boxes): 3}
        for name, rank in expected.items():
            if name not in ranks:
                raise OptionError(f"`postprocess`: there is no output {name}; there are {', '.join(ranks)}")
            if ranks[name] != rank:
                raise OptionError(f"`postprocess`: {name} has {ranks[name]} axes, and {self.kind} are read from {rank}")
        return self.model_copy(update={"scores": scores})

    def __call__(
        self, results: Mapping[str, NDArray[Any]], *, image: tuple[int, int], size: tuple[int, int]
    ) -> dict[str, Any]:
        """Return what the first row of the outputs says.

        Parameters
        ----------
        results
            Output name to array, batch axis first.
        image
            Height and width of the image as it came, which boxes are returned in.
        size
            Height and width of the model's input.
        """
        scores = results[str(self.scores)][0].astype(np.float64)
        if self.softmax:
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
        if self.kind == "classes":
            best = np.argsort(-scores, kind="stable")[: self.top]
            return {"classes": [{"class": int(i), "score": float(scores[i])} for i in best]}
        boxes = results[str(self.boxes)][0].astype(np.float64)
        if self.form == "centres":
            half = boxes[:, 2:] / 2
            boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)
        height, width = image
        scale = (width, height) if self.units == "relative" else (width / size[1], height / size[0])
        boxes = np.clip(boxes * np.tile(scale, 2), 0, np.tile((width, height), 2))
        return {"detections": self._apart(boxes, scores)}

    def _apart(self, boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> list[dict[str, Any]]:
        """Return the detections that are left, best first: greedy suppression, class by class."""
        kept: list[dict[str, Any]] = []
        for kind in range(scores.shape[1]):
            if kind == self.background:
                continue
            left = np.flatnonzero(scores[:, kind] >= self.threshold)
            left = left[np.argsort(-scores[left, kind], kind="stable")]
            for _ in range(self.top):  # no class has more than that among the best of all
                if not left.size:
                    break
                best, left = left[0], left[1:]
                kept.append({"class": kind, "score": float(scores[best, kind]), "box": boxes[best].tolist()})
                left = left[_overlap(boxes[best], boxes[left]) <= self.overlap]
        return sorted(kept, key=lambda one: -one["score"])[: self.top]


def _overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of a box [4] with others [N, 4], as corners."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.clip(high - low, 0, None).prod(1)
    either = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - both
    return np.asarray(both / np.where(either > 0, either, 1.0))
