"""What a page sends is not to be trusted: it may be of an older page, or of a broken one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["answered"]

Page = TypeVar("Page")


def answered(handle: Callable[[Page, Mapping[str, Any]], None]) -> Callable[[Page, Any], None]:
    """Make a method that handles a page's requests one that never raises: what is wrong is said on the page.

    The object has a method ``tell(message)``, which sends the page a message.
    """

    @functools.wraps(handle)
    def answer(self: Page, request: Any) -> None:
        said = ""
        try:
            if isinstance(request, Mapping):
                handle(self, request)
            else:
                said = "the page sent no request"
        except WorkbenchError as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001 - a callback's exception would be lost in the kernel's log
            said = f"the page sent something that cannot be done: {type(error).__name__}: {error}"
        if said:
            self.tell({"type": "error", "text": said})  # type: ignore[attr-defined]

    return answer
