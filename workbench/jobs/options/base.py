"""Options of a job, said once: command line, signature and documentation are made from them."""

from __future__ import annotations

import errno
import functools
import inspect
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from workbench.errors import OptionError
from workbench.jobs.options.written import check_places
from workbench.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic.fields import FieldInfo
    from typing_extensions import Self

__all__ = ["Cli", "Options", "job", "options_of"]


@dataclass(frozen=True)
class Cli:
    """How an option stands on the command line, where its name and type do not say it.

    Parameters
    ----------
    argument
        It has no name there.
    name
        Its name, where that is another than the field's.
    metavar
        What the help shows in place of a value.
    hidden
        It is for Python alone.
    short
        A second name of one letter: ``-p``.
    text
        What may be anything in Python is a text there, and no path.
    """

    argument: bool = False
    name: str | None = None
    metavar: str | None = None
    hidden: bool = False
    short: str | None = None
    text: bool = False

    @staticmethod
    def of(field: FieldInfo) -> Cli:
        """Return how a field stands on the command line."""
        return next((one for one in field.metadata if isinstance(one, Cli)), Cli())


class Options(BaseModel):
    """The options of one job, in the order in which Python takes them; the docstring says what the job does."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)

    @field_validator("*", mode="after")
    @classmethod
    def _check_path(cls, value: Any) -> Any:
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path) and (reason := _no_name(path)):
                raise ValueError(f"{str(path)[:40]!r}... is no name that a file can have: {reason}")
        return value

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        check_places(self)
        return self


OptionsType = TypeVar("OptionsType", bound=Options)
Result = TypeVar("Result")


def job(kind: type[OptionsType]) -> Callable[[Callable[[OptionsType], Result]], Callable[..., Result]]:
    """Make a function of checked options one of plain arguments; signature and documentation are the options'."""

    def decorate(function: Callable[[OptionsType], Result]) -> Callable[..., Result]:
        signature = _signature(kind, function)

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Result:
            return function(_checked(kind, function.__name__, signature, arguments, named))

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = _documented(kind)
        call.options = kind  # type: ignore[attr-defined]
        return call

    return decorate


def options_of(function: Callable[..., Any]) -> type[Options]:
    """Return the options of a job."""
    kind: type[Options] = function.options  # type: ignore[attr-defined]
    return kind


def _no_name(path: Path) -> str | None:
    """Return why no file can have a name, whether there is one or not."""
    try:
        path.lstat()
    except ValueError as error:
        return str(error)
    except OSError as error:
        return os.strerror(error.errno) if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ) else None
    return None


def _signature(kind: type[Options], function: Callable[..., Any]) -> inspect.Signature:
    parameters = []
    for name, field in kind.model_fields.items():
        required = field.is_required()
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD
                if required or Cli.of(field).argument
                else inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if required else field.get_default(call_default_factory=True),
                annotation=field.annotation,
            )
        )
    return inspect.Signature(parameters, return_annotation=inspect.signature(function).return_annotation)


def _checked(
    kind: type[OptionsType],
    name: str,
    signature: inspect.Signature,
    arguments: tuple[Any, ...],
    named: Mapping[str, Any],
) -> OptionsType:
    for word in named:
        if word not in kind.model_fields:
            raise OptionError(f"{name} has no option {word}", fix=did_you_mean(word, kind.model_fields))
    try:
        bound = signature.bind(*arguments, **named).arguments
    except TypeError as error:
        raise OptionError(f"{name}: {error}", fix=f"Use {name}{signature}.") from None
    try:
        return kind.model_validate(bound)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(f"`{part}`" for part in first["loc"][:1])
        what = first["msg"].removeprefix("Value error, ").rstrip(".")
        if first["type"] == "literal_error":
            what = f"{first['input']} is not one of {first['ctx']['expected']}"
        raise OptionError(f"{place}: {what}" if place else what) from None


def _documented(kind: type[Options]) -> str:
    """Return what an options' class says, with the options as parameters."""
    lines = [inspect.cleandoc(kind.__doc__ or ""), "", "Parameters", "----------"]
    for name, field in kind.model_fields.items():
        lines += [name, *textwrap.wrap(field.description or "", 110, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join(lines)
