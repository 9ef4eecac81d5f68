"""The live side of every view: one life cycle, one way for a page to ask and to be answered, one way to listen.

A view is itself the Jupyter widget, so that it can be put into any box. It costs nothing until it is shown: only then
is its page made and sent. What is shown is computed from the session; a `Change` of the session shows it again.

A page sends small typed requests, ``{"type": "sort", "column": "range"}``. Each is a method of the view named
``_on_`` and the type, with `request` before it; the types of its parameters are the schema, which is checked here.
"""

from __future__ import annotations

import logging
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import anywidget
import ipywidgets
import traitlets

from workbench.errors import WorkbenchError
from workbench.session import Change, Changes, history_of, step_text
from workbench.views.kit.picture import Pictured
from workbench.views.kit.requests import request, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workbench.recipe.steps import Step
    from workbench.session import Workbench
    from workbench.views.kit.themes import ThemeName

__all__ = ["Stack", "View", "linked", "tabs"]


class _ViewType(type(anywidget.AnyWidget), ABCMeta):  # type: ignore[misc]
    """What both a widget and a picture are made of."""


class _Lazy(Pictured):
    """A widget that opens its connection to the page when it is shown, not when it is made."""

    comm: Any

    def still(self) -> Pictured:
        """Return the picture that stands for the view where it cannot be live."""
        raise NotImplementedError

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return its picture as an SVG document."""
        return self.still().svg(theme)

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return its picture as a PNG."""
        return self.still().png(theme)

    def open(self) -> None:
        """Do nothing yet: ipywidgets calls this for everything that is made."""

    @property
    def model_id(self) -> str:
        """The name by which a page knows this view; asking for it opens the connection."""
        if self.comm is None:
            self.fill()
            super().open()  # type: ignore[misc]
        return cast("str", super().model_id)  # type: ignore[misc]

    @abstractmethod
    def fill(self) -> None:
        """Put into the widget's traits what is to be shown."""

    def close(self) -> None:
        """Take the view off the page; shown again, it comes back."""
        super().close()  # type: ignore[misc]
        vars(self).pop("_repr_mimebundle_", None)

    def widget(self) -> Any:
        """Return the view itself, open."""
        _ = self.model_id
        return self


class View(_Lazy, anywidget.AnyWidget, metaclass=_ViewType):  # type: ignore[misc]
    """A live view: what its page draws, what is marked in it, and what it may ask for.

    Parameters
    ----------
    *sessions
        The workbenches that are shown, mostly one; the view follows their changes.
    """

    scene = traitlets.Dict().tag(sync=True)
    """What is drawn."""
    marks = traitlets.Dict().tag(sync=True)
    """What changes more often than that: a selection, a figure."""

    def __init__(self, *sessions: Workbench | None) -> None:
        super().__init__()
        self._version = 0
        self._pages: int | None = None
        """On how many pages it is, as they say; what is on none any longer is not drawn until it is again."""
        self._stale = False
        self._selections = Changes()
        self.part = False
        """Whether another view speaks for it where selections are told and heard."""
        self._following = False
        self.handling = False
        """Whether it is doing what its page asked for: a step of the recipe that comes now was clicked."""
        self.on_msg(self._receive)
        self._session: Workbench | None = None
        for session in sessions:
            self.follow(session)

    @abstractmethod
    def scene_state(self) -> dict[str, Any]:
        """Return what the page draws."""

    def mark_state(self) -> dict[str, Any]:
        """Return what is marked in it."""
        return {}

    def follow(self, session: Workbench | None) -> None:
        """Show the changes of a session from now on; the first is the one whose recipe `undo` is about."""
        if session is not None:
            self._session = self._session or session
            session.on_change(self._listen)

    def renew(self) -> None:
        """Take over what the session is now; what is computed when it is asked for needs nothing."""

    # Showing

    def draw(self, **options: Any) -> None:
        """Show all as it is now; `options` go to `scene_state`."""
        if self.comm is not None:
            with self.hold_sync():
                self.fill(**options)

    def mark(self, **options: Any) -> None:
        """Show again what is marked, and draw nothing anew; `options` go to `mark_state`."""
        if self.comm is not None:
            self.marks = self.mark_state(**options) | {"version": self._version}

    def fill(self, **options: Any) -> None:
        """Put scene and marks into the traits that the page reads."""
        self.scene = self.scene_state(**options)
        self.marks = self.mark_state() | {"version": self._version}

    def tell(self, kind: str, **fields: Any) -> None:
        """Send the page a message: an ``error`` or what was ``done``, with its ``text``; or an answer of its own."""
        self.send({"type": kind, **fields})

    # Selecting

    def on_select(self, listener: Callable[[Any], object]) -> Callable[[], None]:
        """Call a function with `selected` whenever that has changed, whatever changed it; what is returned stops it."""
        return self.on_selection("selected", listener)

    def on_selection(self, what: str, listener: Callable[[Any], object]) -> Callable[[], None]:
        """Call a function with one of the view's attributes whenever `selects` tells that it has changed."""
        return self._selections.on_change(lambda change: change.what == what and listener(getattr(self, what)))

    def selects(self, what: str = "selected") -> None:
        """Tell those who listen to this view that something else is selected."""
        self._selections.tell(Change("selection", what, self))
        # What follows another view is quiet: it may show more or less than was selected there.
        if self._session is not None and not (self.part or self._following):
            history_of(self._session).changes.tell(Change("selection", str(getattr(self, what)), self))

    @property
    def selected_nodes(self) -> list[str]:
        """Addresses of the session's nodes that the selection stands for, whatever it is of."""
        return []

    def choose_nodes(self, nodes: list[str]) -> None:
        """Select what stands for some nodes of the session, at least one; a view of something else does nothing."""

    def _follow(self, view: View) -> None:
        nodes = view.selected_nodes
        if self.part or not nodes or set(nodes) == set(self.selected_nodes):
            return
        self._following = True
        try:
            self.choose_nodes(nodes)
        finally:
            self._following = False

    # Undoing

    def undo(self) -> str:
        """Take the recipe's last step back, whatever view or call made it; return which it was.

        Raises
        ------
        RecipeError
            There is none.
        """
        steps = self._workbench().recipe.steps
        undone = self._workbench().undo()
        self.tell("done", text=f"Undone: {self.worded(steps[-1])}")
        return undone

    def redo(self) -> str:
        """Do the step again that was undone last; return which it was.

        Raises
        ------
        RecipeError
            None was undone since the last change.
        """
        redone = self._workbench().redo()
        self.tell("done", text=f"Done again: {self.worded(self._workbench().recipe.steps[-1])}")
        return redone

    def worded(self, step: Step) -> str:
        """Return a step in the words that the page has for it."""
        return step_text(step)

    def history_state(self) -> dict[str, str]:
        """Return what `undo` and `redo` would take and do, in words; nothing where there is nothing."""
        wb = self._workbench()
        steps = {"undo": wb.recipe.steps[-1:], "redo": history_of(wb).undone[:1]}
        return {way: "".join(map(step_text, some)) for way, some in steps.items()}

    def _workbench(self) -> Workbench:
        if self._session is None:
            raise WorkbenchError("there is no recipe to undo in", where=repr(self))
        return self._session

    @request(current=True)
    def _on_undo(self) -> None:
        self.undo()

    @request(current=True)
    def _on_redo(self) -> None:
        self.redo()

    # Listening and answering

    def _listen(self, change: Change) -> None:
        if change.kind == "selection":
            if change.origin is not self and isinstance(change.origin, View):
                with self._saying():
                    self._follow(change.origin)
            return
        self._version += 1
        with self._saying():
            self.renew()
            self._stale = self._pages == 0
            if not self._stale:
                self.draw()

    @request
    def _on_shown(self) -> None:
        self._pages = 1 + (self._pages or 0)
        if self._stale:
            self._stale = False
            self.draw()

    @request
    def _on_hidden(self) -> None:
        self._pages = max(0, (self._pages or 0) - 1)

    def _receive(self, _: object, content: object, __: object) -> None:
        self.handle(content)

    def handle(self, content: object) -> None:
        """Do what the page asks for; whatever is wrong with it is said there, in a sentence, and never raised."""
        self.handling = True
        try:
            self._handle(content)
        finally:
            self.handling = False

    def _handle(self, content: object) -> None:
        with self._saying():
            if not isinstance(content, Mapping):
                raise unknown(content)
            fields = dict(content)
            kind, version = fields.pop("type", None), fields.pop("version", self._version)
            asked = getattr(getattr(self, f"_on_{kind}", None), "asked", None)
            if asked is None:
                raise unknown(content)
            if asked.current and version != self._version:
                raise WorkbenchError("the recipe has changed meanwhile; this is what it is now", fix="Ask again.")
            asked(self, fields)

    def refused(self, error: WorkbenchError) -> None:
        """Say on the page what is wrong with what it asked for."""
        self.tell("error", text=str(error))

    @contextmanager
    def _saying(self) -> Iterator[None]:
        try:
            try:
                yield
            except WorkbenchError as error:
                self.refused(error)
        except Exception as error:
            logging.getLogger(__name__).exception("%s failed", type(self).__name__)
            first = (str(error).splitlines() or [""])[0]
            self.tell("error", text=f"{type(error).__name__}: {first}. This is a fault of the workbench.")


class Stack(_Lazy, ipywidgets.VBox, metaclass=_ViewType):  # type: ignore[misc]
    """Views beneath each other, as one."""

    def boxes(self) -> Sequence[Any]:
        """Return the views and boxes of them, from top to bottom."""
        raise NotImplementedError

    def fill(self) -> None:
        """Put the views in."""
        self.children = tuple(self.boxes())


def linked(one: View, to_other: Callable[[Any], object], other: View, to_one: Callable[[Any], object]) -> None:
    """Let a selection in either of two views make one in the other, and no echo of it."""
    busy = False

    def once(select: Callable[[Any], object]) -> Callable[[Any], None]:
        def selected(what: Any) -> None:
            nonlocal busy
            if busy:
                return
            busy = True
            try:
                select(what)
            finally:
                busy = False

        return selected

    one.on_select(once(to_other))
    other.on_select(once(to_one))


def tabs(views: Mapping[str, Any]) -> Any:
    """Return views behind one another, each with its title."""
    box = ipywidgets.Tab([*views.values()])
    for at, title in enumerate(views):
        box.set_title(at, title)
    return box
