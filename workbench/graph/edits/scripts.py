"""A function of an engineer's own as a recipe can keep it: one Python file, known by its hash."""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import importlib
import inspect
import linecache
import symtable
import sys
import textwrap
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import EditError, WorkbenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Script", "plain", "surgeon"]

RUNNING = "workbench_script_"
"""What the module of a script is called while it runs, before its hash."""


@dataclass(frozen=True)
class Script:
    """A Python file that defines functions; nothing of it runs before `call`.

    Parameters
    ----------
    path
        Where it is, or, of a function that was typed into a notebook, what its file will be called.
    code
        Its content.
    """

    path: str
    code: bytes

    @classmethod
    def read(cls, path: str | Path) -> Script:
        """Read a script.

        Raises
        ------
        EditError
            It cannot be read.
        """
        path = Path(path).expanduser()
        try:
            return cls(str(path.resolve()), path.read_bytes())
        except OSError as error:
            raise EditError(
                f"the script cannot be read: {error.strerror}", where=path, fix='Write "script.py:function".'
            ) from error

    @classmethod
    def of(cls, function: Callable[..., object]) -> Script:
        """Return the file that defines a function; of one that was typed into a notebook, a file that would.

        Raises
        ------
        EditError
            The function needs more than such a file holds: variables or functions of the notebook.
        """
        function = inspect.unwrap(function)
        if not isinstance(function, types.FunctionType) or "." in function.__qualname__:
            raise EditError(
                "only a function of a module or a notebook can be a step of a recipe",
                where=getattr(function, "__qualname__", repr(function)),
                fix="Define it with def, not inside of another function or class.",
            )
        file = inspect.getsourcefile(function)
        if file is not None and file.endswith(".py") and Path(file).is_file() and function.__module__ != "__main__":
            return cls.read(file)
        return cls(f"{function.__name__}.py", _typed(function).encode())

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of its content."""
        return hashlib.sha256(self.code).hexdigest()

    def call(self, function: str, first: object, arguments: dict[str, Any]) -> object:
        """Run the script and call one of its functions.

        Raises
        ------
        EditError
            It has no such function, the function does not take these arguments, or it raised something.
        """
        name = f"{RUNNING}{self.sha256[:16]}"
        module = types.ModuleType(name)
        module.__file__ = self.path
        shown = f"<{Path(self.path).name}>"
        text = self.code.decode("utf-8", "replace")
        linecache.cache[shown] = (len(text), None, text.splitlines(keepends=True), shown)
        sys.modules[name] = module  # dataclasses and pickle look there
        try:
            exec(compile(self.code, shown, "exec"), module.__dict__)  # noqa: S102 - the user's own code, and allowed
            target = self._find(module, function)
            self._fits(target, first, arguments)
            return target(first, **arguments)
        except WorkbenchError:
            raise
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == shown]
            line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
            raise EditError(
                f"{function} raised {type(error).__name__}" + (f": {error}" if str(error) else ""),
                where=self.path if line is None else f"{self.path}:{line}",
                fix="The model is unchanged.",
            ) from error
        finally:
            sys.modules.pop(name, None)

    def _find(self, module: types.ModuleType, name: str) -> Callable[..., object]:
        target = vars(module).get(name)
        if not callable(target):
            own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
            raise EditError(
                f"there is no function {name!r} in it", where=self.path, fix=f"It has {', '.join(own) or 'none'}."
            )
        function: Callable[..., object] = inspect.unwrap(target)
        return function

    def _fits(self, function: Callable[..., object], first: object, arguments: dict[str, Any]) -> None:
        signature = inspect.signature(function)
        try:
            signature.bind(first, **arguments)
        except TypeError as error:
            raise EditError(
                f"{error}", where=f"{self.path}:{function.__name__}", fix=f"It is {function.__name__}{signature}."
            ) from error


def surgeon(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that changes an onnx-graphsurgeon graph, so that it can be a step of a recipe.

    The function takes a ``gs.Graph`` and keyword arguments that JSON can hold; it changes the graph, or returns
    another. Called with a graph it is what it was; called with a workbench it runs as a step, as `wb.surgeon` runs it.

    Raises
    ------
    EditError
        A recipe could not keep the function: it uses a variable of the notebook, or is part of something else.

    Examples
    --------
    >>> @workbench.surgeon  # doctest: +SKIP
    ... def cut(graph, output):
    ...     graph.outputs = [graph.tensors()[output]]
    ...     graph.cleanup()
    >>> cut(wb, output="/backbone/Relu_output_0")  # doctest: +SKIP
    """
    if not str(function.__module__).startswith(RUNNING):  # else a script marks it, which the recipe has whole
        Script.of(function)

    @functools.wraps(function)
    def run(graph_or_workbench: Any, /, **arguments: Any) -> Any:
        step = getattr(type(graph_or_workbench), "surgeon", None)
        return function(graph_or_workbench, **arguments) if step is None else step(graph_or_workbench, run, **arguments)

    return run


def plain(value: object, where: str) -> Any:
    """Return an argument as JSON, and so a recipe, can hold it; tuples become lists.

    Raises
    ------
    EditError
        It is anything else.
    """
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and value - value == 0):
        return value
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise EditError(
        f"{value!r} is no argument that a recipe can hold",
        where=where,
        fix="Give numbers, text, True, False, None, and lists and dicts of those.",
    )


def _typed(function: types.FunctionType) -> str:
    """Return a file that defines a function of a notebook: its own source, after the imports that it needs."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
        node = ast.parse(source).body[0]
    except (OSError, SyntaxError, IndexError) as error:
        raise EditError(
            "the source of the function is not to be had", where=function.__name__, fix="Write it to a script."
        ) from error
    if not isinstance(node, ast.FunctionDef):
        raise EditError("this is no function with a name", where=function.__name__, fix="Define it with def.")
    lines = source.splitlines()[node.lineno - 1 : node.end_lineno]  # without decorators
    body = "\n".join(lines)
    return "\n".join([*_imports(function, body), "", "", body, ""])


def _imports(function: types.FunctionType, body: str) -> Iterator[str]:
    """Yield a line for each module, and each function or class of one, that a function takes from its notebook."""
    table = symtable.symtable(body, function.__name__, "exec")
    yield "from __future__ import annotations"
    yield ""
    for name in sorted(set(_free(table)) - {function.__name__}):
        if name not in function.__globals__:
            if hasattr(builtins, name):
                continue
            raise EditError(f"the name {name!r} is not defined", where=function.__name__, fix="Import it first.")
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            yield f"import {value.__name__} as {name}" if value.__name__ != name else f"import {name}"
            continue
        home, own = getattr(value, "__module__", None), getattr(value, "__name__", None)
        if home not in (None, "__main__") and getattr(importlib.import_module(str(home)), str(own), None) is value:
            yield f"from {home} import {own} as {name}" if own != name else f"from {home} import {own}"
            continue
        raise EditError(
            f"it uses {name!r} of the notebook, which a recipe could not find again",
            where=function.__name__,
            fix="Hand it over as an argument, define it inside of the function, or put both into a script.",
        )


def _free(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that code looks up outside of itself."""
    for symbol in table.get_symbols():
        if symbol.is_global() and symbol.is_referenced():
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _free(inner)
