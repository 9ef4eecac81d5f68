"""What a tuning and a search do with their options, each who does the work a function that stands in for it."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from workbench.child import ChildError
from workbench.jobs import tuning
from workbench.jobs.options import SearchOptions, TuneOptions
from workbench.precision.search import MOST_TRIALS
from workbench.recipe import Gate, GateResult

PLAIN = {"model": "m", "samples": "s", "out": "o"}


class Recorder:
    """Stands for a session: remembers what it was asked, in order."""

    def __init__(self):
        self.asked = []
        self.plan = SimpleNamespace(
            set_target=lambda target: self.asked.append(("target", target)),
            use=lambda preset: self.asked.append(("use", preset)),
            keep_what_pays=lambda how: self.asked.append(("keep", how)),
            search=lambda **options: self.asked.append(("search", options)) or SimpleNamespace(to_dict=dict),
        )

    def prepare(self):
        self.asked.append(("prepare",))

    def calibrate(self, samples, **options):
        self.asked.append(("calibrate", samples, options))

    def require(self, **gate):
        self.asked.append(("require", gate))


@pytest.fixture
def session(monkeypatch):
    made = Recorder()
    monkeypatch.setattr(tuning, "open_model", lambda path: made.asked.append(("open", str(path))) or made)
    return made


@pytest.mark.parametrize(
    ("kind", "preset", "used"),
    [
        (TuneOptions, {}, []),
        (TuneOptions, {"preset": "int8"}, []),
        (TuneOptions, {"preset": "fp16"}, ["fp16"]),
        (SearchOptions, {}, []),
        (SearchOptions, {"preset": "int8"}, ["int8"]),
        (SearchOptions, {"preset": "fp16"}, ["fp16"]),
    ],
)
def test_a_preset_is_taken_where_it_is_not_what_is_done_anyway(session, kind, preset, used):
    options = kind(**PLAIN, **preset, min_sqnr=1, target="rtx", batch=3, method="minmax", device="cuda")
    assert tuning._started(options) is session
    how = {"method": "minmax", "percentile": 99.99, "batch": 3, "preprocessing": None, "device": "cuda"}
    assert session.asked == [
        ("open", "m"),
        ("target", "rtx"),
        ("prepare",),
        *(("use", one) for one in used),
        ("calibrate", "s", how),
    ]


@pytest.fixture
def finished(session, monkeypatch):
    """Let everything after the plan be done by nobody."""
    session.comparison = session.table = None
    monkeypatch.setattr(tuning, "results_folder", lambda out, _: contextlib.nullcontext(out))
    monkeypatch.setattr(tuning, "_started", lambda _: session)
    monkeypatch.setattr(tuning, "_judge_on", lambda *_: session.asked.append(("judge",)))
    monkeypatch.setattr(tuning, "_finish", lambda wb, *_: tuning.TuneResult(wb, None, (), ("tuned.onnx",)))
    monkeypatch.setattr(tuning, "write_text", lambda path, text: (path.name, text))
    return session


@pytest.mark.parametrize(("measured", "kept"), [(None, []), ("how", [("keep", "how")])])
def test_a_tuning_has_its_gates_and_keeps_what_pays_where_that_is_measured(finished, monkeypatch, measured, kept):
    monkeypatch.setattr(tuning, "measuring", lambda _: contextlib.nullcontext(measured))
    result = tuning.tune("m", "s", "o", max_drop=1.0, labels="l", min_sqnr=20.0)
    assert finished.asked == [
        ("require", {"metric": "top1_drop", "at_most": 1.0}),
        ("require", {"metric": "sqnr_db", "at_least": 20.0}),
        *kept,
        ("judge",),
    ]
    assert result.files == ("tuned.onnx",)


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {}),
        ({"exact": True, "most_trials": 7}, {"sensitivity": "exact", "most_trials": 7}),
        ({"cost": "mine"}, {"cost": "mine"}),
        ({"equalize": True, "correct_bias": True, "device": "cuda"}, {"equalize": True, "correct_bias": True}),
    ],
)
def test_a_search_has_one_goal_and_what_it_was_asked_for(finished, monkeypatch, given, changed):
    monkeypatch.setattr(tuning, "measuring", lambda _: contextlib.nullcontext("how"))
    monkeypatch.setattr(tuning, "_cost_of", lambda _: "engines")
    result = tuning.search("m", "s", "o", min_sqnr=20.0, evaluation="e", **given)
    assert finished.asked == [
        (
            "search",
            {
                "metric": "sqnr_db",
                "at_least": 20.0,
                "samples": "e",
                "labels": None,
                "preprocessing": None,
                "sensitivity": "quick",
                "cost": "engines",
                "equalize": False,
                "correct_bias": False,
                "most_trials": MOST_TRIALS,
                "device": given.get("device"),
                "measure": "how",
            }
            | changed,
        ),
        ("require", {"metric": "sqnr_db", "at_least": 20.0}),  # a search that is stopped before may not reach it
        ("judge",),
    ]
    assert result.files == ("tuned.onnx", ("search.json", "{}"))
    assert result.search is not None


@pytest.mark.parametrize(
    ("given", "evaluated"),
    [
        ({}, None),
        ({"evaluation": "e"}, ("e", None)),
        ({"labels": "l.npy"}, (None, "l.npy")),
        ({"evaluation": "e", "labels": "l.npy"}, ("e", "l.npy")),
        ({"labels": [1, 2]}, None),
    ],
)
def test_a_recipe_knows_what_gates_are_judged_on_where_that_is_more_than_the_calibration(monkeypatch, given, evaluated):
    required, amended = [], []
    history = SimpleNamespace(
        require=required.append, amend=lambda *, evaluation: amended.append((evaluation.samples, evaluation.labels))
    )

    class Data(list):
        fingerprint = "print"

        def describe(self):
            return {"kind": "described"}

    data = Data("abc")
    monkeypatch.setattr(tuning, "history_of", lambda _: history)
    monkeypatch.setattr(tuning, "samples_for", lambda _, samples, pixels: (data, asked.append((samples, pixels))))
    asked = []
    for name in ("SamplesReference", "Evaluation"):
        monkeypatch.setattr(tuning, name, SimpleNamespace)
    monkeypatch.setattr(tuning, "FileReference", SimpleNamespace(of=str))
    tuning._judge_on(None, TuneOptions(**PLAIN, **given, gates=("sqnr_db >= 20", "layers <= 3"), preprocessing="p"))
    assert required == [Gate.read("sqnr_db >= 20"), Gate.read("layers <= 3")]
    if evaluated is None:
        assert amended == asked == []
        return
    reference = SimpleNamespace(source={"kind": "described"}, count=3, fingerprint="print")
    assert amended == [(reference, evaluated[1])]
    assert asked == [(evaluated[0], "p")]


def test_a_result_says_what_was_tried_the_table_the_gates_and_what_to_think_of_it(monkeypatch):
    monkeypatch.setattr(tuning, "before_after", lambda *_: ["rows"])
    monkeypatch.setattr(tuning, "text_table", lambda rows: f"table of {rows}")
    monkeypatch.setattr(tuning, "verdict", lambda *_: SimpleNamespace(text=lambda: "a verdict\n"))
    monkeypatch.setattr(tuning, "remarks", lambda *_: ("one",))
    gates = tuple(GateResult(f"layers <= {n}", 2.0, n > 1) for n in (1, 2))
    result = tuning.TuneResult(SimpleNamespace(advice=("two",)), None, gates, ())
    assert result.text() == f"table of ['rows']\n\ngate {gates[0]}\ngate {gates[1]}\n\na verdict"
    assert result.remarks == ("one", "two")
    searched = tuning.TuneResult(None, None, (), (), SimpleNamespace(text=lambda: "tried"))
    assert searched.text() == "tried\n\ntable of ['rows']\n\na verdict"


def test_statistics_are_saved_where_this_session_calibrated(tmp_path):
    saved = []
    statistics = SimpleNamespace(save=saved.append)
    assert tuning.save_statistics(SimpleNamespace(ranges=SimpleNamespace(statistics=None)), tmp_path) == ()
    file = tmp_path / "statistics.npz"
    assert tuning.save_statistics(SimpleNamespace(ranges=SimpleNamespace(statistics=statistics)), tmp_path) == (file,)
    assert saved == [file]


def test_a_comparison_that_died_says_what_is_there_all_the_same():
    with pytest.raises(ChildError) as died:
        tuning._measured(ChildError("it died", kind="signal", where="w", fix="Fix it."))
    assert str(died.value) == "w: it died; tuned.onnx and recipe.yaml are written, and nothing was measured. Fix it."
    assert died.value.kind == "signal"
    assert tuning._measured("a result") == "a result"
