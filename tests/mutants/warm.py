"""Try mutants without starting Python anew for each.

One process collects the tests of a folder and waits. A mutant of a function is tried in a fork of it, where the
function gets its new code; what ran on import already is tried in a fork of the process before it, which has
imported other people's libraries and none of the modules under test. Either way the file is changed, too, for
processes that tests start.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import resource
import select
import signal
import sys
import warnings
from collections import defaultdict
from contextlib import contextmanager, suppress
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import Phase, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from coverage import Coverage

PLUGINS = (f"-p no:{name}" for name in ("cacheprovider", "randomly", "xdist"))
OPTIONS = ("-q", "--tb=no", "--maxfail=1", "--skip-lowered", "--snapshot-warn-unused", *PLUGINS)
MEMORY = 12 << 30
"""Bytes of data that a process may have: a mutant may well allocate without end."""

LONGEST_S = 15.0
"""A test that takes longer is left out, its children's time apart: survivors can only become more by that."""
FAULT = 70
"""The exit code of a process that did not come as far as the tests."""


class Ran(NamedTuple):
    """What tests ran: lines of the collection; tests by file and line; processor seconds of each test that passed."""

    imported: dict[str, set[int]]
    tests: dict[tuple[str, int], set[str]]
    seconds: dict[str, float]
    libraries: list[str]


class Warm:
    """The tests of some folders, collected once."""

    def __init__(self, checkout: Path, module: str, tests: Sequence[str]) -> None:
        self._base = str(checkout.parent / "tmp")
        phases = [Phase.explicit, Phase.generate]  # what fails need not be made smaller
        settings.register_profile("mutants", phases=phases, database=None, deadline=None)
        settings.load_profile("mutants")
        fork = multiprocessing.get_context("fork")
        self._pipe, theirs = fork.Pipe()
        self.noticed = checkout.parent / "noticed"
        arguments, log = [*tests, f"--basetemp={self._base}"], checkout.parent / "collected"
        self._collected = fork.Process(target=_collect, args=(theirs, module, self.noticed, arguments, log))
        self._collected.start()
        theirs.close()
        try:
            ran = self._pipe.recv()
        except EOFError:
            ran = None
        if not isinstance(ran, Ran):
            raise RuntimeError(f"pytest did not come as far as the tests:\n{log.read_text()[-4000:]}")  # noqa: TRY004 - no caller erred
        self.ran = ran
        sys.dont_write_bytecode = True
        _import(self.ran.libraries)

    def killed(self, path: Path, source: str, lines: set[int], tests: Sequence[str]) -> bool:
        """Return whether one of the tests notices that a file holds other source, changed in these lines."""
        before, times = path.read_text(), path.stat()
        self.noticed.write_text("")
        limit = 10 + 4 * sum(self.ran.seconds[test] for test in tests)
        try:
            path.write_text(source)
            if self.ran.imported.get(str(path), set()) & lines or changed_on_import(before, source, str(path)):
                code = _forked(lambda: int(pytest.main([*OPTIONS, f"--basetemp={self._base}", *tests])), limit)
            else:
                self._pipe.send((str(path), before, source, tests, limit))
                code = self._pipe.recv()
        finally:
            path.write_text(before)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        if code == FAULT:
            raise RuntimeError(f"{path}: the mutant could not be put in place")
        return code != 0

    def leave_out(self, test: str) -> None:
        """Do without a test."""
        del self.ran.seconds[test]
        for tests in self.ran.tests.values():
            tests.discard(test)

    def close(self) -> None:
        """End the process that waits."""
        self._pipe.send(None)
        self._collected.join()


class _Waiting:
    """The plugin of pytest that forks between collecting and running."""

    def __init__(self, pipe: Connection, module: str, noticed: Path) -> None:
        self.pipe = pipe
        self.noticed = noticed
        self.module = module
        self.cover = _coverage(module)
        self.cover.start()
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()  # or skipped
        self.contexts: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session):
        self.cover.stop()
        imported = self.cover.get_data()
        session.config.option.maxfail = 0
        ours, theirs = multiprocessing.Pipe()
        pid = os.fork()
        if not pid:
            self.pipe = theirs
            ours.close()
            self.cover = _coverage(self.module)
            self.cover.start()
            signal.signal(signal.SIGPROF, _too_long)
            return (yield)
        theirs.close()
        tests, seconds, libraries = ours.recv()
        os.waitpid(pid, 0)
        _import(libraries)
        lines = {file: set(imported.lines(file) or ()) for file in imported.measured_files()}
        self.pipe.send(Ran(lines, tests, seconds, libraries))
        self.cover = None
        session.config.option.maxfail = 1
        if self._chosen(session):
            return (yield)
        os._exit(0)

    def _chosen(self, session: pytest.Session) -> bool:
        """Return true in a fork with a mutant in place and its tests chosen, and false when no more are asked for."""
        items = {item.nodeid: item for item in session.items}
        functions = [actual for actual in gc.get_objects() if isinstance(actual, FunctionType)]
        sys.dont_write_bytecode = True
        while (asked := self.pipe.recv()) is not None:
            path, before, source, tests, limit = asked

            def put(path=path, before=before, source=source, tests=tests) -> None:
                swap(functions, before, source, path)
                session.items[:] = [items[test] for test in tests]

            code = _forked(put, limit)
            if code is None:
                return True
            self.pipe.send(code)
        return False

    # Below: which test runs which line, and how long it takes, in the fork that measures.

    @contextmanager
    def _within(self, context: str) -> Iterator[None]:
        """Count lines for one test, or for one fixture that several tests share."""
        if self.cover is not None:
            self.contexts.append(context)
            self.cover.switch_context(context)
        try:
            yield
        finally:
            if self.cover is not None:
                self.contexts.pop()
                self.cover.switch_context(self.contexts[-1] if self.contexts else "")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        before = sum(os.times()[:4])
        if self.cover is not None:
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
        with self._within(item.nodeid):
            ran = yield
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds[item.nodeid] = sum(os.times()[:4]) - before
        return ran

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        shared = fixturedef.scope != "function"
        with self._within(f"{fixturedef.baseid}\n{fixturedef.argname}" if shared else request.node.nodeid):
            return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)
        if report.failed and self.cover is None:
            self.noticed.write_text(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.cover is None:
            return
        self.cover.stop()
        passed = {test: seconds for test, seconds in self.seconds.items() if test not in self.failed}
        tests = [item for item in session.items if item.nodeid in passed]
        actual: dict[tuple[str, int], set[str]] = defaultdict(set)
        sharing: dict[str, set[str]] = {}
        data = self.cover.get_data()
        for file in data.measured_files():
            for line, contexts in data.contexts_by_lineno(file).items():
                for context in contexts:
                    if context not in sharing:
                        sharing[context] = set(_sharing(context, tests))
                    actual[file, line] |= sharing[context]
        self.pipe.send((dict(actual), passed, libraries_of(sys.modules, session.config.rootpath)))


def _sharing(context: str, tests: Iterable[pytest.Item]) -> Iterator[str]:
    """Yield the tests that a context stands for: one, or all that use a fixture."""
    base, shared, fixture = context.partition("\n")
    for test in tests:
        if test.nodeid == context or (shared and test.nodeid.startswith(base) and fixture in test.fixturenames):
            yield test.nodeid


def _collect(pipe: Connection, module: str, noticed: Path, arguments: Sequence[str], log: Path) -> None:
    _quiet(str(log))
    code = pytest.main([*OPTIONS, *arguments], plugins=[_Waiting(pipe, module, noticed)])
    os._exit(int(code))


def _coverage(module: str) -> Coverage:
    from coverage import Coverage

    return Coverage(data_file=None, source=[module], config_file=False, messages=False)


def _forked(work: Callable[[], int | None], seconds: float) -> int | None:
    """Return the exit code of a fork of this process, and in the fork None where the work says nothing.

    It ends after so many processor seconds, or where it only waits, after thirty times as many by the clock.
    """
    pid = os.fork()
    if not pid:
        os.setsid()
        _quiet()
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 6))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        code: int | None = FAULT
        try:
            code = work()
        finally:
            if code is not None:
                os._exit(code)
        return None
    waiting = os.pidfd_open(pid)
    ended, _, _ = select.select([waiting], [], [], 30 * seconds)
    os.close(waiting)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what it started and left, too
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if ended else 1


def libraries_of(modules: Mapping[str, object], root: Path) -> list[str]:
    """Return the names of modules that lie outside of a folder.

    One inside, of tests or benchmarks as much, would import the modules under test before a mutant is in place.
    """
    files = {name: getattr(module, "__file__", None) or "" for name, module in modules.items()}
    return [name for name, file in files.items() if not file.startswith(f"{root}{os.sep}")]


def _import(libraries: Iterable[str]) -> None:
    """Import what the tests import late, once for all mutants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in libraries:
            with suppress(Exception):  # an optional one
                importlib.import_module(name)


def _too_long(*_: object) -> None:
    raise TimeoutError


def _quiet(instead: str = os.devnull) -> None:
    to = os.open(instead, os.O_RDWR | os.O_CREAT)
    for stream in (0, 1, 2):
        os.dup2(to, stream)


def changed_on_import(before: str, source: str, path: str) -> bool:
    """Return whether a change is in what runs on import: the body of a module or class, a default, a decorator.

    A function that closes over other variables than before needs to be made anew, too.
    """
    return any(
        not _is_function(old) or len(old.co_freevars) != len(new.co_freevars)
        for old, new in _changed(before, source, path)
    )


def swap(functions: Iterable[FunctionType], before: str, source: str, path: str) -> None:
    """Give functions that are there their new code."""
    changed = dict(_changed(before, source, path))
    for function in functions:
        if function.__code__.co_filename == path and function.__code__ in changed:
            function.__code__ = changed[function.__code__]


def _changed(before: str, source: str, path: str) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield the code that differs, the old and the new, with all of the functions around it."""
    try:
        new = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):  # a mutant that fails on import
        new = compile("raise SyntaxError", path, "exec")
    return _differing(compile(before, path, "exec", dont_inherit=True), new)


def _differing(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    inner = list(zip(_inner(old), _inner(new), strict=False))
    below = [pair for a, b in inner for pair in _differing(a, b)]
    if _own(old) != _own(new) or len(_inner(old)) != len(_inner(new)) or (below and _is_function(old)):
        yield old, new
    yield from below


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _own(code: CodeType) -> tuple[object, ...]:
    values = [(type(constant), repr(constant)) for constant in code.co_consts if not isinstance(constant, CodeType)]
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_exceptiontable, tuple(values)


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & 0x2)  # CO_NEWLOCALS: of a function, not of a module or class
