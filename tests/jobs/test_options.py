"""What each job can be asked for: what goes together, what does not, what stands where nothing is said."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import pytest
import yaml
from annotated_types import BaseMetadata
from onnx import helper, numpy_helper
from pydantic import Field, ValidationError

from workbench.errors import OptionError
from workbench.jobs import options as options_module
from workbench.jobs.options import (
    BenchOptions,
    BuildEngineOptions,
    CheckOptions,
    Cli,
    DossierOptions,
    DriftOptions,
    EngineOptions,
    FleetOptions,
    MigrateOptions,
    Options,
    ReplayOptions,
    RunEngineOptions,
    RunNotebooksOptions,
    SearchOptions,
    ServeOptions,
    TritonOptions,
    TuneOptions,
    job,
    options_of,
)
from workbench.recipe import Recipe, ranges_hash

BASE = {
    BenchOptions: {"models": ("m.onnx",), "out": "o"},
    BuildEngineOptions: {"model": "m.onnx", "out": "o"},
    CheckOptions: {"model": "m.onnx"},
    DossierOptions: {"recipe": "r.yaml", "out": "o"},
    DriftOptions: {"folder": "f", "field": "s.npz"},
    EngineOptions: {"graph": "g.json"},
    FleetOptions: {"fleet": "f.yaml", "out": "o"},
    ReplayOptions: {"recipe": "r.yaml", "out": "o"},
    RunEngineOptions: {"engine": "e.plan"},
    SearchOptions: {"model": "m.onnx", "samples": "s.npz", "out": "o"},
    ServeOptions: {"folders": ("a",)},
    TritonOptions: {"folder": "f", "out": "o"},
    TuneOptions: {"model": "m.onnx", "samples": "s.npz", "out": "o"},
}
FIT = [
    (BenchOptions, {"models": ("a.onnx", "b.onnx")}),
    (BenchOptions, {"samples": "s", "quantized": "q", "calibration_cache": "c", "evaluation": "e", "labels": "l"}),
    (BenchOptions, {"recipe": "r", "evaluation": "e"}),
    (BenchOptions, {"models": ("o/a.onnx",), "calibration_cache": "o/c"}),
    (BenchOptions, {"target": "sm86", "backend": "tensorrt_rtx", "batch": 4, "runs": 1, "workspace_mib": 1}),
    (BuildEngineOptions, {"backend": "tensorrt_rtx", "target": "sm86"}),
    (BuildEngineOptions, {"exclude_lean_runtime": True, "version_compatible": True}),
    (BuildEngineOptions, {"exclude_lean_runtime": True, "recipe": "r"}),
    (BuildEngineOptions, {"batches": "1,4,4", "optimization_level": 0, "workspace_mib": 1}),
    (BuildEngineOptions, {"optimization_level": 5}),
    (CheckOptions, {"fix": True, "out": "o"}),
    (CheckOptions, {"matrix": True, "releases": "1.4,1.6"}),
    (DossierOptions, {"batches": (1,), "runs": 10}),
    (DriftOptions, {"picture": "drift.PNG"}),
    (EngineOptions, {"gpu": "L4"}),
    (EngineOptions, {"against": "b", "against_profile": "p", "against_timing": "t", "no_worse": 0}),
    (EngineOptions, {"against": "b"}),
    (FleetOptions, {"workers": 1}),
    (FleetOptions, {"scheduler": "tcp://a"}),
    (ReplayOptions, {"recalibrate": True, "samples": "s"}),
    (ReplayOptions, {"recalibrate": True}),
    (ReplayOptions, {"engine": "e", "profile": "p", "timing": "t"}),
    (ReplayOptions, {"backend": "onnxruntime", "runs": 0}),
    (ReplayOptions, {"settings": ("samples=a=b", "labels=l")}),
    (RunEngineOptions, {"samples": "s", "out": "o", "weights": "m", "save": "w"}),
    (RunEngineOptions, {"weights": "m"}),
    (SearchOptions, {"min_sqnr": 20}),
    (SearchOptions, {"max_drop": 1, "labels": "l", "builds": 2, "engine": ("a", "b"), "profile": ("c", "d")}),
    (ServeOptions, {"preprocess": "p", "postprocess": "p"}),
    (ServeOptions, {"postprocess": "p", "folders": ("a", "b"), "workers": 64, "port": 65535, "max_batch": 1024}),
    (ServeOptions, {"watch": "w", "watch_tensors": "a,b", "engine": "e", "port": 0, "max_batch": 1, "wait_ms": 1000}),
    (TritonOptions, {"samples": "s", "preprocessing": "p", "triton": "24.05"}),
    (TuneOptions, {"max_drop": 1, "labels": "l"}),
    (TuneOptions, {"samples": "no\0file"}),
    (TuneOptions, {"min_sqnr": 1, "batch": 1, "runs": 0, "measure_batch": 1}),
]
WRONG = [
    (DriftOptions, {"picture": "drift.gif"}, "`picture` is an .svg or a .png, and drift.gif is neither"),
    (TuneOptions, {"percentile": float("nan")}, "than or equal to 100"),
    (TuneOptions, {"percentile": 100.5}, "less than or equal to 100"),
    (BenchOptions, {"models": ()}, "at least 1 item"),
    *(
        (BenchOptions, {"models": ("a", "b"), of_one: "x"}, "are of one model")
        for of_one in ("samples", "recipe", "quantized", "calibration_cache", "evaluation")
    ),
    (BenchOptions, {"labels": "l"}, "`labels` belong to `evaluation`"),
    (BenchOptions, {"evaluation": "e", "target": "sm86"}, "a target is only built for"),
    (BenchOptions, {"samples": "s", "recipe": "r"}, "brings its own ranges"),
    (BenchOptions, {"batch": (1, 0)}, "greater than or equal to 1"),
    (BenchOptions, {"runs": 0}, "greater than or equal to 1"),
    (BenchOptions, {"workspace_mib": 0}, "greater than or equal to 1"),
    (BenchOptions, {"budget_s": 0}, "greater than 0"),
    (BenchOptions, {"variants": ""}, "at least 1 item"),
    (BuildEngineOptions, {"target": "sm86"}, "is for the `backend` tensorrt_rtx"),
    (BuildEngineOptions, {"exclude_lean_runtime": True}, "goes with `version_compatible`"),
    (BuildEngineOptions, {"batches": "1,4"}, "three numbers in order"),
    (BuildEngineOptions, {"batches": "1,2,3,4"}, "three numbers in order"),
    (BuildEngineOptions, {"batches": (4, 1, 8)}, "three numbers in order"),
    (BuildEngineOptions, {"optimization_level": -1}, "greater than or equal to 0"),
    (BuildEngineOptions, {"optimization_level": 6}, "less than or equal to 5"),
    (BuildEngineOptions, {"workspace_mib": 0}, "greater than or equal to 1"),
    (BenchOptions, {"optimization_level": -1}, "greater than or equal to 0"),
    (BenchOptions, {"optimization_level": 6}, "less than or equal to 5"),
    (CheckOptions, {"matrix": True, "fix": True, "out": "o"}, "mends nothing"),
    (CheckOptions, {"fix": True}, "give both"),
    (CheckOptions, {"out": "o"}, "give both"),
    (CheckOptions, {"releases": ()}, "at least 1 item"),
    (CheckOptions, {"releases": "1.4"}, "what a `matrix` asks"),
    (DossierOptions, {"batches": (2, 0)}, "whole numbers from 1"),
    (DossierOptions, {"batches": ()}, "at least 1 item"),
    (DossierOptions, {"runs": 9}, "greater than or equal to 10"),
    (EngineOptions, {"gpu": "abacus"}, "abacus is none of"),
    *(
        (EngineOptions, {other: value}, "go with `against`")
        for other, value in (("against_profile", "p"), ("against_model", "m"), ("against_timing", "t"), ("no_worse", 0))
    ),
    (EngineOptions, {"against": "b", "no_worse": -1}, "greater than or equal to 0"),
    (FleetOptions, {"workers": 2, "scheduler": "tcp://a"}, "has its own"),
    (FleetOptions, {"workers": 0}, "greater than or equal to 1"),
    (ReplayOptions, {"samples": "s"}, "`samples` go with `recalibrate`"),
    (ReplayOptions, {"backend": "onnxruntime", "engine": "e"}, "which was built elsewhere"),
    (ReplayOptions, {"profile": "p"}, "go with `engine`"),
    (ReplayOptions, {"timing": "t"}, "go with `engine`"),
    (ReplayOptions, {"settings": ("samples",)}, "'samples' is not like KEY=VALUE"),
    (ReplayOptions, {"settings": ("samples=",)}, "'samples=' is not like KEY=VALUE"),
    (ReplayOptions, {"settings": ("model=m", "sample=s")}, "nothing is called sample; did you mean samples"),
    (ReplayOptions, {"runs": -1}, "greater than or equal to 0"),
    (RunEngineOptions, {"samples": "s"}, "give both, or neither"),
    (RunEngineOptions, {"out": "o"}, "give both, or neither"),
    (RunEngineOptions, {"save": "w"}, "`save` writes an engine that `weights` were put into"),
    (SearchOptions, {}, "give one goal"),
    (SearchOptions, {"min_sqnr": 20, "max_drop": 1, "labels": "l"}, "give one goal"),
    (SearchOptions, {"min_sqnr": 20, "engine": ("a", "b"), "profile": ("c",)}, "one `profile` for each `engine`"),
    (SearchOptions, {"min_sqnr": 20, "builds": 1}, "greater than or equal to 2"),
    (SearchOptions, {"max_drop": 1}, "needs `labels`"),
    (ServeOptions, {"folders": ()}, "at least 1 item"),
    (ServeOptions, {"preprocess": "p"}, "which `postprocess` says what to make of"),
    (ServeOptions, {"watch": "w", "folders": ("a", "b")}, "one model in one process"),
    (ServeOptions, {"watch": "w", "workers": 2}, "one model in one process"),
    (ServeOptions, {"watch_tensors": "a"}, "says what `watch` counts"),
    (ServeOptions, {"engine": "e", "folders": ("a", "b")}, "`engine` is of one model"),
    *(
        (ServeOptions, {name: value}, "than or equal to")
        for name, value in (
            ("port", -1),
            ("port", 65536),
            ("max_batch", 0),
            ("max_batch", 1025),
            ("wait_ms", -1),
            ("wait_ms", 1001),
            ("queue", 0),
            ("concurrency", 0),
            ("max_body_mib", 0),
            ("workers", 0),
            ("workers", 65),
            ("watch_every", 0),
        )
    ),
    (ServeOptions, {"timeout_s": 0}, "greater than 0"),
    (TritonOptions, {"preprocessing": "p"}, "`preprocessing` is of `samples`"),
    (TritonOptions, {"version": 0}, "greater than or equal to 1"),
    (TritonOptions, {"triton": "24.5"}, "should match pattern"),
    (TuneOptions, {"max_drop": 1}, "needs `labels`"),
    (TuneOptions, {"batch": 0}, "greater than or equal to 1"),
    (TuneOptions, {"measure_batch": 0}, "greater than or equal to 1"),
]


def named(case):
    kind, given, *_ = case
    return f"{kind.__name__}: {', '.join(f'{name}={value}' for name, value in given.items()) or 'nothing'}"


@pytest.mark.parametrize("case", FIT, ids=named)
def test_what_fits_together_is_taken(case):
    kind, given = case
    made = kind(**{**BASE[kind], **given})
    assert made.model_fields_set == BASE[kind].keys() | given.keys()


@pytest.mark.parametrize("case", WRONG, ids=named)
def test_what_does_not_fit_is_refused_with_the_reason(case):
    kind, given, words = case
    with pytest.raises(ValidationError) as failure:
        kind(**{**BASE[kind], **given})
    assert words in str(failure.value)


def test_a_text_of_numbers_or_words_is_taken_apart():
    assert BuildEngineOptions(model="m", out="o", batches="1, 4,8").batches == (1, 4, 8)
    assert BenchOptions(models=("m",), out="o", batch=4).batch == (4,)
    assert BenchOptions(models=("m",), out="o", variants=" qdq,fp16,,qdq").variants == ("qdq", "fp16")
    assert BenchOptions(models=("m",), out="o", variants=("fp32",)).variants == ("fp32",)


def test_what_stands_where_nothing_is_said():
    """These are in the documentation, and in what people have measured."""
    serve = ServeOptions(folders=("a",))
    assert (serve.port, serve.host, serve.max_batch, serve.wait_ms, serve.exact) == (8000, "127.0.0.1", 16, 0.0, False)
    assert (serve.queue, serve.concurrency, serve.max_body_mib, serve.timeout_s) == (256, 256, 64, 30.0)
    assert (serve.workers, serve.watch_every) == (1, 10)
    bench = BenchOptions(models=("m",), out="o")
    assert bench.variants == ("qdq", "fp16", "implicit-int8", "tf32", "fp32")
    assert (bench.runs, bench.batch, bench.backend, bench.keep_engines) == (400, (), "tensorrt", False)
    tune = TuneOptions(model="m", samples="s", out="o")
    assert (tune.method, tune.percentile, tune.batch, tune.runs, tune.preset) == ("mse", 99.99, 1, 30, "int8")
    search = SearchOptions(model="m", samples="s", out="o", min_sqnr=20)
    assert (search.preset, search.exact, search.builds, search.equalize) == (None, False, 12, False)
    assert DossierOptions(recipe="r", out="o").batches == (1, 2, 4, 8)
    assert DossierOptions(recipe="r", out="o").runs == 100
    assert CheckOptions(model="m").releases == ("1.4", "1.5", "1.6", "1.7")
    triton = TritonOptions(folder="f", out="o")
    assert (triton.version, triton.variant) == (1, "qdq")
    for kind in (bench, BuildEngineOptions(model="m", out="o")):
        flags = ("version_compatible", "exclude_lean_runtime", "hardware_compatible", "refit", "strip")
        assert not any(getattr(kind, flag) for flag in flags)


KINDS = {
    name: kind
    for name in dir(options_module)
    if isinstance(kind := getattr(options_module, name), type) and issubclass(kind, Options) and kind is not Options
}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_what_each_option_is_by_default_what_bounds_it_and_how_it_stands_on_the_command_line(name, snapshot):
    lines = []
    for option, field in KINDS[name].model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        shown = default.as_posix() if isinstance(default, Path) else repr(default) if default is not None else ""
        bounds = [repr(one) for one in field.metadata if isinstance(one, BaseMetadata)]
        bounds += [f"{word}={value}" for word, value in vars(Cli.of(field)).items() if value != getattr(Cli, word)]
        lines.append(" ".join([f"{option}: {shown}", *bounds]))
    assert lines == snapshot


# How a function of options is made


class Sample(Options):
    """Do something.

    At length.
    """

    first: int
    second: str = "b"
    third: tuple[int, ...] = ()


@job(Sample)
def sample(options):
    """See `Sample`."""
    return options


def test_a_function_of_options_takes_them_plain():
    assert sample(1) == Sample(first=1)
    assert sample(first=2, second="c", third=(1, 2)) == Sample(first=2, second="c", third=(1, 2))
    assert options_of(sample) is Sample
    kinds = [one.kind for one in inspect.signature(sample).parameters.values()]
    assert kinds == [inspect.Parameter.POSITIONAL_OR_KEYWORD, *[inspect.Parameter.KEYWORD_ONLY] * 2]
    defaults = [one.default for one in inspect.signature(sample).parameters.values()]
    assert defaults == [inspect.Parameter.empty, "b", ()]


def test_its_documentation_names_every_option():
    text = sample.__doc__
    assert text.splitlines()[:6] == ["Do something.", "", "At length.", "", "Parameters", "----------"]
    assert text.splitlines()[6:] == ["first", "second", "third"]
    from workbench.jobs import tune

    documented = tune.__doc__.split("----------")[1].splitlines()
    assert [line for line in documented if line and not line.startswith(" ")] == list(TuneOptions.model_fields)
    assert max(map(len, documented)) <= 110
    assert "    Where measured engines and their journal are kept; OUT.engines where left out." in documented


@pytest.mark.parametrize(("letters", "lines"), [(53, 1), (54, 2)])
def test_what_is_said_of_an_option_is_broken_at_110_characters(letters, lines):
    said = f"{'a' * 52} {'b' * letters}"

    class Long(Options):
        option: Annotated[int, Field(description=said)] = 0

    @job(Long)
    def long(options):
        return options

    shown = [line for line in long.__doc__.splitlines() if "a" * 9 in line or "b" * 9 in line]
    assert [line.strip() for line in shown] == ([said] if lines == 1 else said.split(" "))
    assert {line[:5].count(" ") for line in shown} == {4}


@pytest.mark.parametrize(
    ("arguments", "given", "what", "fix"),
    [
        ((), {"frist": 1}, "sample has no option frist", "Did you mean first?"),
        ((), {}, "sample: missing a required argument: 'first'", "Use sample(first"),
        ((1, "b"), {}, "sample: too many positional arguments", "Use sample(first"),
        (("one",), {}, "`first`: Input should be a valid integer", ""),
        ((1,), {"third": (1, "x")}, "`third`: Input should be a valid integer", ""),
    ],
)
def test_what_cannot_be_taken_is_said_with_what_can(arguments, given, what, fix):
    with pytest.raises(OptionError) as failure:
        sample(*arguments, **given)
    assert failure.value.what.startswith(what)
    assert (failure.value.fix or "").startswith(fix)


def test_a_choice_names_what_there_is_and_a_rule_stands_without_a_place():
    from workbench.jobs import build_engine, replay, run_engine

    with pytest.raises(OptionError, match=r"`runtime`: thin is not one of 'auto', 'full' or 'lean'"):
        run_engine("e", runtime="thin")
    with pytest.raises(OptionError) as failure:
        replay("r", "o", samples="s")
    assert failure.value.what == "`samples` go with `recalibrate`; a plain replay measures nothing"
    with pytest.raises(OptionError) as failure:
        build_engine("m" * 5000, "o")
    assert failure.value.what == f"`model`: {'m' * 40!r}... is no name that a file can have: File name too long"
    with pytest.raises(OptionError, match=r"`model`: 'm.x00'... is no name that a file can have: .*null"):
        build_engine("m\0", "o")


def test_how_an_option_stands_on_the_command_line_is_plain_unless_said():
    plain, named_so = Cli.of(Sample.model_fields["first"]), Cli.of(ReplayOptions.model_fields["settings"])
    assert plain == Cli()
    assert not plain.argument
    assert not plain.hidden
    assert (named_so.name, named_so.metavar) == ("set", "KEY=VALUE")


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (CheckOptions, {"model": "m.onnx", "fix": True, "out": "m.onnx"}, "`out` would replace m.onnx, which `model`"),
        (BuildEngineOptions, {"model": "m.onnx", "out": "link.onnx"}, "`out` would replace m.onnx"),
        (BuildEngineOptions, {"model": "m.onnx", "out": "e", "timing_cache": "./m.onnx"}, "`timing_cache` would"),
        (RunEngineOptions, {"engine": "e", "samples": "s.npz", "out": "../here/s.npz"}, "which `samples` reads"),
        (MigrateOptions, {"model": "m.onnx", "cache": "c", "out": "c"}, "which `cache` reads"),
        (EngineOptions, {"graph": "g.json", "html": "x", "sarif": "x"}, "which `html` writes"),
        (BenchOptions, {"models": ("a.onnx", "m.onnx"), "out": "o", "timing_cache": "m.onnx"}, "which `models` reads"),
        (TuneOptions, {"model": "m.onnx", "samples": "s.npz", "out": "o", "junit": "s.npz"}, "`samples` reads"),
        (TuneOptions, {"model": "m.onnx", "samples": "s", "out": "o", "junit": "o/j.xml"}, "`junit` is in the folder"),
        (TuneOptions, {"model": "o/tuned.onnx", "samples": "s", "out": "o"}, "`model` is in the folder of the results"),
        (ReplayOptions, {"recipe": "o/r.yaml", "out": "o", "summary": "o/r.yaml"}, "which `recipe` reads"),
    ],
)
def test_nothing_is_written_over_what_is_read(kind, given, said, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("m.onnx", "s.npz"):
        (here / name).touch()
    (here / "link.onnx").hardlink_to(here / "m.onnx")
    with pytest.raises(ValidationError, match=said):
        kind(**given)


@pytest.fixture
def read_with(tmp_path, monkeypatch):
    """Files that are read with another: a model's weights, a recipe's model and samples, images, a tuned model."""
    monkeypatch.chdir(tmp_path)
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [], [weight])
    onnx.save_model(
        helper.make_model(graph), "m.onnx", save_as_external_data=True, location="weights", size_threshold=0
    )
    samples = {"fingerprint": "0" * 64, "count": 1, "source": {"kind": "npz", "path": str(tmp_path / "s.npz")}}
    step = {
        "do": "calibrate",
        "method": "entropy",
        "batch": 1,
        "ranges": {},
        "samples": samples,
        "sha256": ranges_hash({}),
    }
    recipe = Recipe.model_validate({"model": {"file": str(tmp_path / "m.onnx"), "sha256": "0" * 64}, "steps": [step]})
    for folder in ("tuned", "images"):
        (tmp_path / folder).mkdir()
    recipe.save("r.yaml")
    (tmp_path / "f.yaml").write_text(yaml.safe_dump({"fleet": 1, "sites": {"a": {"recipe": "r.yaml"}}}))
    names = "s.npz", "e.json", "x.recipe.yaml", "n.ipynb", "images/a.PNG", "preprocess.json", "tuned/statistics.npz"
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "tuned/recipe.yaml").write_text("[../tuned, {a: recipe.yaml}]")  # whatever it names


@pytest.mark.usefixtures("read_with")
@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (CheckOptions, {"model": "m.onnx", "junit": "weights"}, "`junit` would replace weights, which is read with m"),
        (ReplayOptions, {"recipe": "r.yaml", "out": "o", "junit": "m.onnx"}, r"m.onnx, which is read with r.yaml \("),
        (ReplayOptions, {"recipe": "r.yaml", "out": "o", "summary": "s.npz"}, "s.npz, which is read with r.yaml"),
        (ReplayOptions, {"recipe": "r.yaml", "out": "o", "junit": "weights"}, "weights, which is read with r.yaml"),
        (FleetOptions, {"fleet": "f.yaml", "out": "o", "junit": "r.yaml"}, "r.yaml, which is read with f.yaml"),
        (RunEngineOptions, {"engine": "e", "samples": "i", "out": "e.json"}, "e.json, which is read with e"),
        (
            MigrateOptions,
            {"model": "m.onnx", "cache": "x.recipe.yaml", "out": "x.onnx"},
            "`out` would replace x.recipe",
        ),
        (BuildEngineOptions, {"model": "m.onnx", "out": "e", "recipe": "e.json"}, "`out` would replace e.json"),
        (TuneOptions, {"model": "m", "samples": "images", "out": "o", "junit": "images/a.PNG"}, "read with images"),
        (TuneOptions, {"model": "m", "samples": "images", "out": "o", "junit": "preprocess.json"}, "read with images"),
        (TuneOptions, {"model": "m", "samples": "s", "out": "o", "engines": "o"}, "would replace o, which"),
        (ServeOptions, {"folders": ("a=tuned",), "watch": "tuned/statistics.npz"}, "read with tuned"),
        (RunNotebooksOptions, {"names": ("n.ipynb",), "out": "."}, "`out` would replace n.ipynb, which `names` reads"),
        (RunNotebooksOptions, {"names": ("a/n.ipynb", "b/n.ipynb")}, "`names`: a/n.ipynb and b/n.ipynb would both be"),
    ],
)
def test_nothing_is_written_over_what_is_read_with_something_else(kind, given, said):
    with pytest.raises(ValidationError, match=said):
        kind(**given)


@pytest.mark.usefixtures("read_with")
def test_reports_and_what_is_new_may_lie_beside_what_is_read():
    DriftOptions(folder="tuned", field="s.npz", picture="tuned/drift.png")
    TuneOptions(model="m.onnx", samples="images", out="o", junit="images/junit.xml", summary="images/new.png")
    ReplayOptions(recipe="r.yaml", out="o", junit="e.json")
    CheckOptions(model="broken.onnx", junit="s.npz")
    RunNotebooksOptions(names=("n.ipynb", "00_quickstart"), out="o")


def test_a_recipe_is_replayed_where_it_lies_and_a_device_takes_everything():
    ReplayOptions(recipe="o/recipe.yaml", out="o")
    TuneOptions(model="int8", samples="s", out="o", preset="int8", junit="/dev/null", summary="/dev/null")
