"""Progress is shown where somebody looks, and nowhere else."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench import progress
from workbench.backends.compiler import rtx_capabilities
from workbench.backends.verdict import check
from workbench.progress import Stopped, phases, report, report_best, stoppable, stopping, watched


class Terminal(io.StringIO):
    """A terminal that keeps what it was shown."""

    def isatty(self) -> bool:
        return True


def shown_at_once(monkeypatch, delay_s=0.0) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)  # not in a fixture: pytest puts its own there when the test begins
    monkeypatch.setattr(progress, "DELAY_S", delay_s)
    monkeypatch.setattr(progress, "REFRESH_S", 0.0)
    return terminal


def test_phases_say_what_is_done_and_how_much(monkeypatch):
    terminal = shown_at_once(monkeypatch)
    with phases("building m") as show:
        for done in (0.0, 0.25, 1.0):
            show("choosing kernels", done)
    shown = terminal.getvalue()
    assert "building m: choosing kernels" in shown
    assert " 25%" in shown
    assert "100%" in shown


def test_nothing_is_shown_where_output_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    with phases("building m") as show:
        show("choosing kernels", 0.5)
    assert capsys.readouterr() == ("", "")


def test_what_is_done_within_a_second_is_not_told(monkeypatch):
    terminal = shown_at_once(monkeypatch, 60.0)
    with phases("building m") as show:
        show("choosing kernels", 1.0)
    assert "choosing" not in terminal.getvalue()


def test_items_of_several_samples_count_as_many(monkeypatch):
    terminal = shown_at_once(monkeypatch)
    assert list(progress.progress([8, 8, 8], total=24, doing="calibrating", amount=lambda size: size)) == [8, 8, 8]
    assert "24/24" in terminal.getvalue()

    lines = []
    display = pytest.importorskip("IPython.display", reason="IPython is not installed")
    handle = SimpleNamespace(update=lambda bundle, **_: lines.append(bundle["text/plain"]))
    monkeypatch.setattr(display, "display", lambda *_, **__: handle)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    for _ in progress.progress([8, 8, 8], total=24, doing="calibrating", amount=lambda size: size):
        pass
    assert lines[0] == "calibrating: 8 of 24"
    assert lines[-1].startswith("calibrating: 24 of 24, done in ")


@pytest.mark.skipif(not rtx_capabilities().build, reason="tensorrt_rtx is not installed")
def test_a_compiler_reports_its_phases(monkeypatch):
    terminal = shown_at_once(monkeypatch)
    value = helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")],
        "g",
        [value("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [value("y", TensorProto.FLOAT, [1, 8, 14, 14])],
        [weight],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert check(proto).accepted
    assert "TensorRT-RTX for sm86 on g: " in terminal.getvalue()


# Where somebody watches


class Watching:
    """Keeps what it hears, and asks for an end once it heard so many steps."""

    def __init__(self, most=99):
        self.steps, self.bests, self.most = [], [], most

    def step(self, *told):
        self.steps.append(told)

    def best(self, text):
        self.bests.append(text)

    def stopping(self):
        return len(self.steps) >= self.most


def test_who_watches_is_told_instead_until_the_block_ends():
    watcher = Watching()
    with watched(watcher):
        assert list(progress.progress([3, 5], total=8, doing="reading", amount=lambda size: size)) == [3, 5]
        assert list(progress.progress("ab", total=None, doing="counting")) == ["a", "b"]
        with phases("building m") as show:
            show("kernels", 0.25)
        report("searching", 1, 3)
        report("searching", 2, 3, "the best")
        assert report_best("better")
    with pytest.raises(KeyError), watched(watcher):
        raise KeyError
    report("searching", 3, 3)
    assert watcher.steps == [
        *[("reading", done, 8) for done in (0, 3, 8)],
        *[("counting", done, None) for done in (0, 1, 2)],
        ("building m: kernels", 0.25, 1.0),
        *[("searching", done, 3) for done in (1, 2)],
    ]
    assert not report_best("seen by nobody")
    assert watcher.bests == ["the best", "better"]


@pytest.mark.parametrize(
    ("most", "partial", "seen", "stopped"),
    [(9, False, [1, 2, 3], False), (2, True, [1], False), (1, True, [], True), (2, False, [1], True)],
)
def test_an_end_is_a_result_where_what_is_done_so_far_is_one(most, partial, seen, stopped):
    done = []

    def work():
        done.extend(progress.progress([1, 2, 3], total=3, doing="reading", partial=partial))

    with watched(Watching(most)):
        if stopped:
            with pytest.raises(Stopped, match="reading"):
                work()
        else:
            work()
    assert done == seen


def test_items_are_stopped_where_somebody_who_watches_asks_for_it():
    assert not stopping()
    assert list(stoppable([1, 2])) == [1, 2]
    watcher = Watching(most=1)
    with watched(watcher):
        assert not stopping()
        items = stoppable([1, 2])
        assert next(items) == 1
        watcher.step("one")
        assert stopping()
        with pytest.raises(Stopped):
            next(items)


# In a notebook, by a clock that a test sets


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(at=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now.at))
    return now


@pytest.fixture
def cell(monkeypatch):
    """What a cell of a notebook was shown, each with how it was: first displayed, then updated."""
    shown = []
    display = pytest.importorskip("IPython.display", reason="IPython is not installed")

    def displayed(bundle, **options):
        shown.append(("display", bundle["text/plain"], options))
        return SimpleNamespace(update=lambda bundle, **options: shown.append(("update", bundle["text/plain"], options)))

    monkeypatch.setattr(display, "display", displayed)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    return shown


def test_a_cell_has_one_line_that_is_renewed_five_times_a_second(cell, clock):
    for seconds in progress.progress([0.125, 0.125, 0.125, 0.5], total=None, doing="reading"):
        clock.at += seconds
    assert list(progress.progress([7], total=7, doing="counting", amount=lambda size: size)) == [7]
    first, then = {"raw": True, "display_id": True}, {"raw": True}
    assert cell == [
        ("display", "reading: 0", first),
        ("update", "reading: 2", then),
        ("update", "reading: 4", then),
        ("update", "reading: 4, done in 0.9 s", then),
        ("display", "counting: 0 of 7", first),
        ("update", "counting: 7 of 7, done in 0.0 s", then),
    ]


def test_phases_are_told_in_a_cell_from_a_second_on(cell, clock):
    with phases("building m") as show:
        for at, done in ((0.875, 0.1), (1.0, 0.25), (1.125, 0.3), (1.25, 0.5), (61.25, 1.0)):
            clock.at = 100.0 + at
            show("kernels", done)
    assert cell == [
        ("display", "building m: kernels, 25%, 1 s", {"raw": True, "display_id": True}),
        ("update", "building m: kernels, 50%, 1 s", {"raw": True}),
        ("update", "building m: kernels, 100%, 61 s", {"raw": True}),
    ]


def test_phases_are_told_in_a_terminal_from_a_second_on_five_times_a_second(monkeypatch, clock):
    told = []

    class Bar:
        n = 0.0

        def __init__(self, **options):
            assert (options["total"], options["desc"], options["leave"]) == (1.0, "building m", False)
            assert options["delay"] == 1.0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def set_description(self, text):
            told.append((text, self.n))

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("tqdm.std.tqdm", Bar)
    with phases("building m") as show:
        for at, done in ((0.875, 0.1), (1.0, 0.25), (1.125, 0.3), (1.25, 0.5)):
            clock.at = 100.0 + at
            show("kernels", done)
    assert told == [("building m: kernels", 0.25), ("building m: kernels", 0.5)]


def test_a_bar_in_a_terminal_counts_by_amount_and_goes_away(monkeypatch):
    told, terminal = [], Terminal()

    class Bar:
        def __init__(self, **options):
            told.append(options)

        def __enter__(self):
            return SimpleNamespace(update=told.append)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("tqdm.std.tqdm", Bar)
    assert list(progress.progress([3, 5], total=8, doing="reading", amount=lambda size: 2 * size)) == [3, 5]
    options = {"total": 8, "desc": "reading", "leave": False, "file": terminal, "mininterval": 0.2}
    assert told == [options, 6, 10]


def shell(kernel=None, **config):
    return SimpleNamespace(get_ipython=lambda: SimpleNamespace(config=config, kernel=kernel))


@pytest.mark.parametrize(
    ("ipython", "there"),
    [
        (None, False),
        (SimpleNamespace(get_ipython=lambda: None), False),
        (shell(), False),
        (shell(IPKernelApp={}), True),
    ],
)
def test_a_notebook_is_told_by_its_kernel(monkeypatch, ipython, there):
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert progress.in_notebook() == there


def kernel(content):
    return shell(
        SimpleNamespace(get_parent=lambda: {"content": content} if content is not None else {}), IPKernelApp={}
    )


@pytest.mark.parametrize(
    ("ipython", "voila", "attended"),
    [
        (None, False, True),
        (kernel({"allow_stdin": True}), False, True),
        (kernel({"allow_stdin": False}), False, False),
        (kernel({"allow_stdin": False}), True, True),
        (kernel({}), False, True),
        (kernel(None), False, True),
        (shell(IPKernelApp={}), False, True),
    ],
)
def test_somebody_looks_on_unless_no_question_may_be_asked(monkeypatch, ipython, voila, attended):
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.delenv("VOILA_REQUEST_URL", raising=False)
    if voila:
        monkeypatch.setenv("VOILA_REQUEST_URL", "http://localhost")
    assert progress.is_attended() == attended
