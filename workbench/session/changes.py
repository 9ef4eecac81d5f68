"""How a session tells what changed, so that views can show it as it is now."""

from __future__ import annotations

import logging
import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Change", "Changes"]

ChangeKind: TypeAlias = Literal["appended", "undone", "redone", "ranges", "plan", "recipe", "measured", "selection"]
Listener: TypeAlias = "Callable[[Change], object]"


@dataclass(frozen=True)
class Change:
    """One thing that has changed; what it is now, one asks the session.

    Attributes
    ----------
    kind
        ``appended``, ``undone``, ``redone``: the recipe has a step more or less, whatever that changed. ``ranges``,
        ``plan``: statistics, ranges, rules or target are others, without a step. ``recipe``: so are its gates, or what
        came out. ``measured``: there are new figures.
        ``selection``: something else is selected, in `origin`.
    what
        Which one, in words: the step, the engine, the nodes.
    origin
        Who changed it, for listeners that do not want to hear of themselves; ``None`` where that does not matter.
    """

    kind: ChangeKind
    what: str = ""
    origin: object = None


class Changes:
    """Listeners, and telling them.

    A bound method is held weakly, so that what only a session still refers to goes away with its listener;
    a function is held until it is stopped.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[[], Listener | None]] = []
        self._post: tuple[int, Callable[[Callable[[], None]], object]] | None = None

    @contextmanager
    def posted(self, post: Callable[[Callable[[], None]], object] | None) -> Iterator[None]:
        """Let changes that this thread makes be told where `post` calls what it is given: in the listeners' thread."""
        self._post = None if post is None else (threading.get_ident(), post)
        try:
            yield
        finally:
            self._post = None

    def __len__(self) -> int:
        """Return how many are listening."""
        self._listeners = [held for held in self._listeners if held() is not None]
        return len(self._listeners)

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Call a function with each `Change` from now on.

        Returns
        -------
        Callable
            Stops it; does nothing the second time.
        """
        held = weakref.WeakMethod(listener) if isinstance(listener, MethodType) else lambda: listener
        self._listeners.append(held)

        def stop() -> None:
            if held in self._listeners:
                self._listeners.remove(held)

        return stop

    def tell(self, change: Change) -> None:
        """Tell all who listen now; an error of one is logged, and stops neither the others nor the change."""
        if self._post is not None and self._post[0] == threading.get_ident():
            self._post[1](lambda: self._tell(change))
            return
        self._tell(change)

    def _tell(self, change: Change) -> None:
        for held in tuple(self._listeners):
            listener = held()
            if listener is None:
                if held in self._listeners:  # whoever was told before may have told more, and swept
                    self._listeners.remove(held)
                continue
            try:
                listener(change)
            except Exception:
                logging.getLogger(__name__).exception("a listener failed at %s", change)
