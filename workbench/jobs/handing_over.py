"""The job: a model repository for Triton from what a tuning left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends import need_of, read_engine
from workbench.display import Card, Shown, counted
from workbench.errors import BackendError, OptionError
from workbench.handoff import open_deployment
from workbench.handoff.triton import (
    ServedModel,
    WarmUp,
    choose_batching,
    make_warm_ups,
    read_curve,
    state_pairs,
    write_repository,
)
from workbench.jobs.options import TritonOptions, job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.backends import Engine
    from workbench.handoff import Deployment, Port

__all__ = ["TritonHandoff", "handoff_triton"]


@dataclass(frozen=True)
class TritonHandoff(Shown):
    """What was handed over.

    Parameters
    ----------
    served
        The model, and how it is served.
    files
        What was written.
    remarks
        What a reader should know, a sentence each.
    """

    served: ServedModel
    files: tuple[Path, ...]
    remarks: tuple[str, ...] = ()

    def text(self) -> str:
        """Return it in a few lines."""
        batching = self.served.batching
        most = f"up to {batching.most} samples a run" if batching.most else "one request a run"
        return f"{self.served.deployment.name} for Triton: {most}, {counted(batching.instances, 'instance')} a GPU"

    def _card(self) -> Card:
        return Card.of_text("\n".join([self.text(), *self.remarks, *(f"wrote {path}" for path in self.files)]))


@job(TritonOptions)
def handoff_triton(options: TritonOptions) -> TritonHandoff:
    """See `TritonOptions`."""
    deployment = open_deployment(options.folder, name=options.name)
    engine = None if options.engine is None else _engine_of(options.engine, deployment)
    manifest: Mapping[str, Any] = {} if engine is None else engine.manifest
    source = Path(deployment.recipe.model.file).stem
    curve = read_curve(options.bench, source, variant=options.variant) if options.bench else ()
    batching = choose_batching(curve, batches=deployment.batches, limit=_limit(manifest, deployment))
    states = state_pairs(deployment, options.state)
    served = ServedModel(deployment, "onnx" if engine is None else "plan", batching, states=states, manifest=manifest)
    labels, labelled = _labels(options.labels, served)
    warm_ups: tuple[WarmUp, ...] = ()
    if states:
        warmed = "No warm-up: Triton gives no state to the runs that it warms up with."
    else:
        narrow = any(served.datatype(port) == "TYPE_INT32" != f"TYPE_{port.datatype}" for port in deployment.inputs)
        warm_ups, warmed = make_warm_ups(
            deployment, batching, options.samples, preprocessing=options.preprocessing, narrow=narrow
        )
    served = ServedModel(
        deployment, served.platform, batching, states=states, labels=labelled, warm_ups=warm_ups, manifest=manifest
    )
    written = write_repository(
        served,
        options.out,
        version=options.version,
        engine=options.engine,
        labels=labels,
        warmed=warmed,
        release=options.triton,
    )
    remarks = [*batching.why, warmed, *_like_states(served)]
    remarks += [f"{path} is kept as it was." for path in written.kept]
    return TritonHandoff(served, written.files, tuple(remarks))


def _engine_of(path: Path, deployment: Deployment) -> Engine:
    engine = read_engine(path)
    if engine.backend != "tensorrt":
        raise BackendError(f"an engine of {engine.backend}", where=path, fix="Triton runs those of tensorrt.")
    if engine.manifest.get("model_sha256") != deployment.model.digest:
        raise BackendError(
            f"it is not an engine of {deployment.file}",
            where=path,
            fix=f"Build one: workbench build {deployment.file} --out model.plan.",
        )
    if need_of(engine.manifest).stripped:
        fix = f"Put them back where it will run: workbench run {path} --weights {deployment.file} --save whole.plan."
        raise BackendError("it was written without its weights", where=path, fix=fix)
    return engine


def _limit(manifest: Mapping[str, Any], deployment: Deployment) -> int | None:
    """Return the largest batch that an engine takes."""
    batched = {port.name for port in deployment.inputs if port.shape and port.shape[0] < 0}
    try:
        longest = [int(entry["max"][0]) for entry in manifest.get("profile") or () if entry["input"] in batched]
    except (LookupError, TypeError, ValueError) as error:
        raise BackendError("the manifest's profile cannot be read", fix="Build the engine again.") from error
    return min(longest, default=None)


def _labels(path: Path | None, served: ServedModel) -> tuple[str | None, tuple[str, ...]]:
    """Return the text of a file of labels, and the output that they are of."""
    if path is None:
        return None, ()
    output: Port = served.outputs()[0]
    try:
        names = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"`labels`: {path} cannot be read: {error}") from error
    classes = served.dims(output)[-1]
    if classes not in (-1, len(names)):
        raise OptionError(f"`labels`: {path} has {len(names)} lines, and {output.name} has {classes} classes")
    return "\n".join(names) + "\n", (output.name,)


def _like_states(served: ServedModel) -> list[str]:
    """Say which outputs could be the next run's inputs, where the model looks as if it had a state."""
    kept = {pair.input.name for pair in served.states}
    inputs = [port for port in served.deployment.inputs if port.name not in kept]
    if served.states or len(inputs) < 2:
        return []
    alike = [
        f"{port.name}={other.name}"
        for port in inputs
        for other in served.deployment.outputs
        if (port.datatype, port.shape) == (other.datatype, other.shape)
    ]
    if not alike:
        return []
    sentence = (
        f"Inputs and outputs of one type and shape: {', '.join(alike)}. Where one is the other of the run before, hand "
        "it over with --state INPUT=OUTPUT."
    )
    return [sentence]
