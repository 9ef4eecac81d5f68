"""The jobs about one engine: build it, and run it over samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.backends import (
    BuildOptions,
    ShapeRange,
    backend_named,
    backend_of,
    default_range,
    installed,
    need_of,
    read_engine,
    write_engine,
)
from workbench.calibration import Preprocessing, open_samples
from workbench.child import Child
from workbench.display import Card, Shown, ShownText
from workbench.errors import BackendError, RecipeError, SamplesError
from workbench.evaluate import Outputs, run_samples
from workbench.graph import file_digest, load_model, model_of_inputs
from workbench.jobs.options import BuildEngineOptions, RunEngineOptions, job
from workbench.recipe import Build, Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from workbench.backends import Backend, Engine, Need
    from workbench.graph import Model

__all__ = ["EngineBuild", "EngineRun", "build_engine", "run_engine"]


@dataclass(frozen=True)
class EngineBuild(ShownText):
    """A built engine.

    Parameters
    ----------
    engine
        The engine, with its manifest.
    need
        What it needs to load.
    files
        What was written.
    """

    engine: Engine
    need: Need
    files: tuple[Path, ...]

    def text(self) -> str:
        """Return what it is and where it loads."""
        size = f"{len(self.engine.data) / 2**20:.1f} MiB, built in {self.engine.manifest['build_s']:.1f} s"
        return f"{size}\n{self.need}"


@dataclass(frozen=True)
class EngineRun(Shown):
    """What came of running an engine, or of asking what it needs.

    Parameters
    ----------
    need
        What it needs to load.
    runtime
        What loads it here.
    samples
        How many were run.
    shapes
        Of each array in the file.
    files
        What was written.
    """

    need: Need
    runtime: str
    samples: int = 0
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    files: tuple[Path, ...] = ()

    def text(self) -> str:
        """Return it in a few lines."""
        if not self.samples:
            return f"{self.runtime} loads it here"
        lines = [f"{self.samples} samples on {self.runtime}"]
        return "\n".join([*lines, *(f"  {name} {'x'.join(map(str, shape))}" for name, shape in self.shapes)])

    def _card(self) -> Card:
        return Card.of_text(f"{self.need}\n{self.text()}")


@job(BuildEngineOptions)
def build_engine(options: BuildEngineOptions) -> EngineBuild:
    """See `BuildEngineOptions`."""
    model = load_model(options.model)
    flags = {name: getattr(options, name) for name in Build.model_fields}
    build = BuildOptions(
        profiles=None if options.batches is None else (_profile(model, options.batches),),
        optimization_level=options.optimization_level,
        timing_cache=None if options.timing_cache is None else str(options.timing_cache),
    )
    if options.workspace_mib is not None:
        build = replace(build, workspace_bytes=options.workspace_mib << 20)
    asked = Build()
    if options.recipe is not None:
        recipe = _recipe_of(model, options.recipe)
        build, asked = recipe.built_by(options.backend, build), recipe.build or asked
    build = asked.and_also(**flags).added_to(build)
    if options.target is None:
        engine = backend_named(options.backend).build(model, build, child=Child())
    else:
        from workbench.backends.tensorrt import TensorRT

        engine = TensorRT("tensorrt_rtx").build(model, build, child=Child(), target=options.target)
    path = write_engine(engine, options.out)
    return EngineBuild(engine, need_of(engine.manifest), (path, path.with_name(path.name + ".json")))


@job(RunEngineOptions)
def run_engine(options: RunEngineOptions) -> EngineRun:
    """See `RunEngineOptions`."""
    engine = read_engine(options.engine, trusted_backend=options.trust)
    need = need_of(engine.manifest)
    if options.say is not None:
        options.say(f"{options.engine}: {need}")
    backend, runtime = _loader(engine, need, options.runtime, options.engine)
    files: tuple[Path, ...] = ()
    if options.weights is not None:
        engine = backend.refit(engine, load_model(options.weights))
        files = () if options.save is None else (write_engine(engine, options.save),)
    backend.load(engine.data, engine.manifest)
    if options.out is None:
        return EngineRun(need, runtime, files=files)
    form = model_of_inputs(backend.inputs(engine))
    preprocessing = options.preprocessing
    if isinstance(preprocessing, str):
        preprocessing = Preprocessing.parse(preprocessing)
    samples = open_samples(options.samples, form, preprocessing=preprocessing)
    outputs = Outputs()
    for feed, results in run_samples(backend, engine, samples, form, batch=options.batch):
        outputs.add(feed, results)
    if not outputs.samples:
        raise SamplesError("no samples to run", fix="Give at least one.")
    shapes = tuple((name, array.shape) for name, array in outputs.arrays().items())
    return EngineRun(need, runtime, outputs.samples, shapes, (*files, outputs.save(options.out)))


def _loader(engine: Engine, need: Need, kind: str, where: Path) -> tuple[Backend, str]:
    """Return the backend that loads an engine here, and what it is in words; nothing is loaded yet."""
    from workbench.backends.tensorrt import TensorRT

    backend = backend_of(engine)
    if not isinstance(backend, TensorRT):
        return backend, backend.name
    family = ("rtx",) if backend.name == "tensorrt_rtx" else ("full", "lean")
    here = [one for one in installed() if one.kind in family]
    if kind != "auto":
        here = [one for one in here if one.kind == kind]
    fitting = next((one for one in here if need.takes(one)), None)
    if fitting is None:
        runtimes = " and ".join(map(str, here)) or "no such runtime"
        raise BackendError(f"{need}; here is {runtimes}", where=where, fix=f"Install one that fits: {need.install}.")
    return TensorRT(backend.name, lean=fitting.kind == "lean"), str(fitting)


def _recipe_of(model: Model, recipe: Path) -> Recipe:
    document = Recipe.load(recipe)
    if document.tuned is None or document.tuned.sha256 != file_digest(model):
        raise RecipeError(
            f"it did not make {model.name}",
            where=recipe,
            fix="Name the recipe beside tuned.onnx, or replay it: workbench replay.",
        )
    return document


def _profile(model: Model, batches: tuple[int, ...]) -> dict[str, ShapeRange]:
    """Return an optimization profile with these lengths of the inputs' free first axes."""
    profile = {}
    for tensor in model.inputs:
        shape = tuple(length if isinstance(length, int) else -1 for length in tensor.shape or ())
        if not shape or shape[0] >= 0:
            continue
        rest = default_range(shape)
        lengths = zip(batches, (rest.min, rest.opt, rest.max), strict=True)
        profile[tensor.name] = ShapeRange(*((batch, *other[1:]) for batch, other in lengths))
    if not profile:
        raise BackendError("no input has a free first axis", where=model.name, fix="Leave out the batches.")
    return profile
