"""What becomes of the plans that a measured search built, and in which thread changes are told."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import SimpleNamespace

from workbench.precision.placement import Pays
from workbench.session.changes import Change, Changes
from workbench.session.measuring import _measured_trials


@dataclass(frozen=True)
class Trial:
    """What of a trial is replaced."""

    name: str
    plan: str = "searched"
    move: str = ""
    pays: Pays | None = None
    engines: tuple = ()


def point(name, trial=None, kind="int8", ways=None, **measured):
    candidate = SimpleNamespace(trial=trial, kind=kind, ways=ways, plan=f"plan of {name}", move=f"move of {name}")
    figures = {"ratio": None, "error": None, "latency_ms": None, "plain_figure": None, "pays": None} | measured
    return SimpleNamespace(name=name, candidate=candidate, **figures)


def test_each_plan_that_was_built_keeps_what_it_took():
    searched, floating, other, before = (Trial(name) for name in ("searched", "floating", "other", "before"))
    points = (
        point("fp16", floating, "floating", ratio=1.5, error=0.25, latency_ms=3.0, plain_figure=40.0),
        point("int8", searched, pays=Pays(verdict="pays", ratio=0.5)),
        point("int8 once more", searched, pays=Pays(verdict="does not pay")),
        point("all", None),
        point("other", other),
        point("a name that sorts before", before),
        chosen := point("chosen", searched, ways={"optimization_level": 5}),
    )
    result = SimpleNamespace(
        points=points, chosen=chosen, front=points[:2], reason="it is fastest", pays=Pays(verdict="pays")
    )
    trials = _measured_trials(result)
    assert set(trials) == {id(searched), id(floating), id(other), id(before)}
    taken = trials[id(searched)]  # with the build options that were chosen
    assert (taken.name, taken.plan, taken.move) == ("searched", "searched", "measured: move of chosen")
    assert taken.pays == Pays(verdict="pays", reason="chosen: it is fastest", build={"optimization_level": 5})
    kept = trials[id(floating)]
    assert (kept.plan, kept.pays) == ("plan of fp16", Pays(reason="fp16: taken by hand"))
    assert trials[id(other)].plan == "searched"
    assert trials[id(before)].pays == Pays(reason="a name that sorts before: taken by hand")
    first, second = taken.engines
    assert (first.name, first.ratio, first.error, first.latency_ms, first.figure) == ("fp16", 1.5, 0.25, 3.0, 40.0)
    assert (second.ratio, second.error, second.latency_ms, second.figure) == (1.0, 0.0, 0.0, None)


def test_what_this_thread_changes_is_told_where_it_is_posted_and_of_others_at_once():
    changes, told, posted = Changes(), [], []
    changes.on_change(told.append)
    one, other, last = (Change("appended", name) for name in ("one", "other", "last"))
    with changes.posted(posted.append):
        changes.tell(one)
        assert (told, len(posted)) == ([], 1)
        thread = threading.Thread(target=changes.tell, args=(other,))
        thread.start()
        thread.join()
        assert (told, len(posted)) == ([other], 1)
        posted[0]()
        assert told == [other, one]
    changes.tell(last)
    assert told == [other, one, last]
    with changes.posted(None):
        changes.tell(one)
    assert told[-1] == one
