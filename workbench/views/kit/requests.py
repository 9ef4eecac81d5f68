"""What a page may ask of its view: small typed messages, each a method."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints, overload

from workbench.errors import WorkbenchError
from workbench.views.kit.themes import css_variables

if TYPE_CHECKING:
    from pydantic import BaseModel


__all__ = ["PART", "Handler", "page", "request", "unknown"]


_HERE = Path(__file__).parent


_EXPORT = re.compile(r"^export default .*$", re.MULTILINE)


PART = "export default { render() {} };"
"""The script of a view that only lives in the page of another one, which has its script."""


Handler = TypeVar("Handler", bound=Callable[..., Any])


def page(*files: Path) -> tuple[str, str]:
    """Return script and style of a view's page: the kit's own, then those of the files, which are plain ES modules.

    A notebook loads a widget's script as a single file, so that what several views share is in each of them. Of the
    pages among the files the last one is the view's; those before it are parts of that.
    """
    own = [_HERE / "kit.js", _HERE / "kit.css", *files]
    script, style = (
        "\n".join(file.read_text(encoding="utf-8") for file in own if file.suffix == suffix)
        for suffix in (".js", ".css")
    )
    *_, last = _EXPORT.finditer(script)
    script = _EXPORT.sub(lambda match: match[0] if match.start() == last.start() else "", script)
    return script, f"{css_variables('light', '.wb')}{css_variables('dark', '.wb.wb-dark')}\n{style}"


@overload
def request(method: Handler) -> Handler: ...


@overload
def request(*, current: bool) -> Callable[[Handler], Handler]: ...


def request(method: Handler | None = None, *, current: bool = False) -> Handler | Callable[[Handler], Handler]:
    """Let the page ask for a method, which is named ``_on_`` and the type of the request.

    Parameters
    ----------
    method
        Its parameters are the fields of the request.
    current
        Refuse it where the session has changed since the page was drawn: it was meant for what was shown.
    """

    def asked(method: Handler) -> Handler:
        method.asked = _Asked(method, current)  # type: ignore[attr-defined]
        return method

    return asked if method is None else asked(method)


class _Asked:
    """What a page may ask a method: its fields and their types, made of its signature when first asked."""

    def __init__(self, method: Callable[..., Any], current: bool) -> None:
        self.method, self.current = method, current

    @cached_property
    def schema(self) -> type[BaseModel]:
        from pydantic import ConfigDict, create_model

        types, parameters = get_type_hints(self.method), [*signature(self.method).parameters.values()][1:]
        fields: Any = {
            one.name: (types[one.name], ... if one.default is one.empty else one.default) for one in parameters
        }
        return create_model(self.method.__name__, __config__=ConfigDict(strict=True, extra="forbid"), **fields)

    def __call__(self, view: Any, fields: Mapping[str, Any]) -> None:
        from pydantic import ValidationError

        try:
            read = self.schema(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            raise unknown(f"{_short(fields)}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        self.method(view, **{name: getattr(read, name) for name in self.schema.model_fields})


def unknown(content: object) -> WorkbenchError:
    """Return the error of a request that is none."""
    text = content if isinstance(content, str) else _short(content)
    return WorkbenchError(f"the page asked for something unknown: {text}", fix="Run the cell again.")


def _short(content: object) -> str:
    """Return what a page sent, as far as it is worth reading; it may be nested beyond what can be written."""
    from reprlib import Repr

    writer = Repr()
    writer.maxstring = writer.maxother = 200
    return writer.repr(content)
