"""One line of a precision plan: a selector, a precision, options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from workbench.names import QUANTIZED, Precision

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Rule"]

QUANTIZED_OPTIONS = ("per_channel", "weight_only", "amax")
FLOATING_OPTIONS = ("islands", "keep_inputs", "keep_outputs")


class Rule(BaseModel):
    """One line of a plan: what is selected gets this precision.

    A quantized precision lies over a floating one: what stays floating in a node of ``int8`` or ``fp8`` (its result,
    its bias) has the type that the last floating rule gives it. So ``* -> fp16`` and then ``op:Conv -> int8`` is INT8
    convolutions in an FP16 network.

    Parameters
    ----------
    select
        A selector in its text form, for example ``op:Conv & scope:/encoder/*``.
    precision
        ``int8``, ``fp8``: computed on 8-bit numbers, through Q/DQ pairs at the inputs. ``fp32``, ``fp16``, ``bf16``:
        computed in this floating-point type.
    per_channel
        For quantized precisions: one scale an output channel of a weight, where the operator can have it.
    weight_only
        For quantized precisions: only the weights; activations stay floating.
    amax
        For quantized precisions: the clipping threshold of the activations that the nodes read, in place of the
        calibrated one. A tensor that several rules give one takes that of the last of them.
    islands
        For ``fp16`` and ``bf16``: leave nodes in FP32 that need its range or its precision. False takes the rule
        literally.
    keep_inputs, keep_outputs
        For ``fp16`` and ``bf16``: the model's own inputs and outputs keep their element types. An input that several
        nodes read changes only if the rules of all of them say so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    select: str
    precision: Precision
    per_channel: bool = True
    weight_only: bool = False
    amax: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    islands: bool = True
    keep_inputs: bool = True
    keep_outputs: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fitting = QUANTIZED_OPTIONS if self.precision in QUANTIZED else FLOATING_OPTIONS
        for name in self.options:
            if name not in fitting or self.precision == "fp32":
                raise ValueError(f"{name} means nothing for {self.precision}")
        return self

    @model_serializer(mode="wrap")
    def _chosen(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A recipe is read by people: it tells what was chosen, not what every rule has.
        content: dict[str, Any] = handler(self)
        unchosen = set(QUANTIZED_OPTIONS + FLOATING_OPTIONS) - set(self.options)
        chosen = {name: value for name, value in content.items() if name not in unchosen}
        # A step of a recipe says first what it does.
        return {"do": chosen.pop("do"), **chosen} if "do" in chosen else chosen

    @property
    def options(self) -> dict[str, Any]:
        """The options that differ from what they are where nothing is said."""
        names = QUANTIZED_OPTIONS + FLOATING_OPTIONS
        return {
            name: getattr(self, name) for name in names if getattr(self, name) != Rule.model_fields[name].get_default()
        }

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.select} -> {self.precision}" + (f" ({options})" if options else "")
