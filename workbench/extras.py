"""What the extras of the package bring: a module that is missing is one sentence with the extra to install."""

from __future__ import annotations

import re
from importlib.util import find_spec

from workbench.errors import BackendError

__all__ = ["missing", "require"]

PACKAGE = "trt-workbench"
_OF_AN_EXTRA = re.compile(r"^(?P<name>[\w.-]+).*extra\s*==\s*['\"](?P<extra>\w+)['\"]")
_FOR_DEVELOPERS = ("dev", "docs", "mutants")


def require(*modules: str) -> None:
    """Refuse to go on without modules that an extra brings.

    Raises
    ------
    BackendError
        One of them is missing; the message names the extra.
    """
    for module in modules:
        if find_spec(module) is None:
            raise missing(module)


def missing(module: str) -> BackendError:
    """Return the error of a module that cannot be imported, with what to install."""
    name = module.partition(".")[0].replace("_", "-")
    extra = _extras().get(name.lower())
    what = f'"{PACKAGE}[{extra}]"' if extra else name
    return BackendError(f"the package {name} is missing", fix=f"Install it: pip install {what}.")


def _extras() -> dict[str, str]:
    """Return the first extra that brings each package."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        stated = requires(PACKAGE) or []
    except PackageNotFoundError:  # a checkout that nobody installed
        return {}
    extras: dict[str, str] = {}
    for line in stated:
        match = _OF_AN_EXTRA.match(line)
        if match and match["extra"] not in _FOR_DEVELOPERS:
            extras.setdefault(match["name"].lower(), match["extra"])
    return extras
