"""The command line: the same verbs as in a notebook."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workbench import __version__
from workbench.cli import engines as cli_engines
from workbench.cli.output import own_output
from workbench.errors import BackendError, OutputError, WorkbenchError
from workbench.limits import set_limits
from workbench.names import DEFAULT_METHOD, METHODS, PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.jobs import TuneResult
    from workbench.names import Method

__all__ = ["EXIT_GATE", "EXIT_INTERNAL", "EXIT_INTERRUPTED", "main"]

EXIT_INTERNAL = 1
EXIT_GATE = 12
EXIT_INTERRUPTED = 130
MOST_LINES = 20

MODEL = click.argument("model", type=click.Path(path_type=Path))
OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
PREPROCESS = click.option(
    "--preprocess",
    metavar="KEY=VALUE,...",
    help="For a folder of images: size=HxW, layout=CHW|HWC, color=RGB|BGR|GRAY, scale, mean, std (a/b/c a channel).",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every error a user can mend is one line, and a traceback only with ``--debug``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Wherever it stands: people add it to the end of a command that failed.
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    with own_output():
        code = _run(words, debug=debug)
    sys.exit(code)


def _run(words: list[str], *, debug: bool) -> int:
    code: int
    try:
        words = _raise_limits(words)
        code = cli.main(words, prog_name="workbench", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except WorkbenchError as error:
        if debug:
            raise
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing is half written", err=True)
        code = EXIT_INTERRUPTED
    except OSError as error:
        if debug:
            raise
        said = OutputError(error.strerror or str(error), where=error.filename, fix="Check the path and the disk.")
        click.echo(f"error: {said}", err=True)
        code = said.exit_code
    except Exception as error:
        if debug:
            raise
        click.echo(f"internal error: {error!r}. Run again with --debug and report what it prints.", err=True)
        code = EXIT_INTERNAL
    return code


def _raise_limits(words: list[str]) -> list[str]:
    """Set the limits that ``--limit NAME=NUMBER`` names, wherever it stands, and return the other words."""
    rest, left = [], iter(words)
    for word in left:
        if word == "--limit" or word.startswith("--limit="):
            set_limits(word.partition("=")[2] or next(left, ""))
        else:
            rest.append(word)
    return rest


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="trt-workbench")
def cli() -> None:
    """Optimize ONNX models on the way to NVIDIA TensorRT.

    Add --debug to any command for a traceback where it fails, and --limit NAME=NUMBER where a file asks for more than
    the limit that an error names. Exit codes are in docs/reference/exit-codes.md.
    """


@cli.command()
@MODEL
@click.option("--samples", required=True, type=click.Path(path_type=Path), help="An .npz, .npy or folder of images.")
@click.option("--labels", type=click.Path(path_type=Path), help="One class index a sample: .npy, or text.")
@click.option("--max-drop", type=float, help="Gate: percentage points of top-1 that may be lost (needs --labels).")
@click.option("--min-sqnr", type=float, help="Gate: SQNR in dB that the worst output must reach.")
@click.option(
    "--method", type=click.Choice(METHODS), default=DEFAULT_METHOD, show_default=True, help="How ranges are picked."
)
@click.option("--percentile", default=99.99, show_default=True, help="For --method percentile.")
@click.option("--batch", default=1, show_default=True, help="Samples a run, where the model's batch is dynamic.")
@PREPROCESS
@click.option("--eval-samples", type=click.Path(path_type=Path), help="Compare on these; --labels belong to them.")
@click.option("--runs", default=30, show_default=True, help="Timed runs of each model; 0 for none.")
@click.option(
    "--preset", default="int8", show_default=True, help="int8, int8+fp16, fp8+fp16, fp16, bf16, fp32, original."
)
@click.option("--target", metavar="NAME[@smNN]", help="tensorrt-8.6, tensorrt-10, tensorrt-11, rtx or onnxruntime.")
@OUT
def tune(
    model: Path,
    samples: Path,
    labels: Path | None,
    max_drop: float | None,
    min_sqnr: float | None,
    method: Method,
    percentile: float,
    batch: int,
    preprocess: str | None,
    eval_samples: Path | None,
    runs: int,
    preset: str,
    target: str | None,
    out: Path,
) -> int:
    """Tune MODEL by the best practice, to INT8 unless another preset is given, and report what it cost.

    Writes tuned.onnx, recipe.yaml, report.json and report.html into the folder --out.
    """
    from workbench.jobs import tune_to

    if max_drop is not None and labels is None:
        raise click.UsageError("--max-drop is about top-1, which needs --labels; --min-sqnr works without.")
    result = tune_to(
        out,
        model,
        samples,
        labels=labels,
        max_drop=max_drop,
        min_sqnr=min_sqnr,
        method=method,
        percentile=percentile,
        batch=batch,
        preprocessing=preprocess,
        evaluation=eval_samples,
        runs=runs,
        preset=preset,
        target=target,
    )
    return _report(result)


@cli.command()
@MODEL
@click.option("--samples", required=True, type=click.Path(path_type=Path), help="An .npz, .npy or folder of images.")
@click.option("--labels", type=click.Path(path_type=Path), help="One class index a sample: .npy, or text.")
@click.option("--max-drop", type=float, help="Goal: percentage points of top-1 that may be lost (needs --labels).")
@click.option("--min-sqnr", type=float, help="Goal: SQNR in dB that the worst output must reach.")
@click.option(
    "--method", type=click.Choice(METHODS), default=DEFAULT_METHOD, show_default=True, help="Ranges to start with."
)
@click.option("--batch", default=1, show_default=True, help="Samples a run, where the model's batch is dynamic.")
@PREPROCESS
@click.option("--eval-samples", type=click.Path(path_type=Path), help="Evaluate on these; --labels belong to them.")
@click.option("--exact", is_flag=True, help="Measure sensitivity exactly instead of estimating it.")
@click.option(
    "--engine",
    "engines",
    metavar="[PRECISION=]FILE",
    multiple=True,
    help="Inspector JSON of a measured engine: its times are the costs. May come several times. "
    "The precision says what regions of Myelin compute in; the file does not tell.",
)
@click.option(
    "--profile",
    "profiles",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Times of its layers, one for each --engine, in order.",
)
@click.option("--equalize", is_flag=True, help="Search again with equalized channels; keep what is cheaper.")
@click.option("--correct-bias", is_flag=True, help="Correct biases for the plan, if that helps.")
@click.option("--preset", help="Where to start; INT8 over FP32 where left out. See tune.")
@click.option("--target", metavar="NAME[@smNN]", help="What it is for; see tune.")
@click.option("--runs", default=30, show_default=True, help="Timed runs of each model; 0 for none.")
@OUT
def search(
    model: Path,
    samples: Path,
    labels: Path | None,
    max_drop: float | None,
    min_sqnr: float | None,
    method: Method,
    batch: int,
    preprocess: str | None,
    eval_samples: Path | None,
    exact: bool,
    engines: tuple[str, ...],
    profiles: tuple[Path, ...],
    equalize: bool,
    correct_bias: bool,
    preset: str | None,
    target: str | None,
    runs: int,
    out: Path,
) -> int:
    """Search the cheapest plan for MODEL that reaches a goal, and say which nodes stay in floating point.

    What is cheap say the engines given (--engine with --profile, for example one in FP16 and one in INT8), and bytes
    and MACs where they do not; the answer tells which is which.

    Writes tuned.onnx, recipe.yaml, report.json, report.html and search.json (every plan tried) into the folder --out.
    """
    from workbench.engine import load_report
    from workbench.jobs import search_to

    if (max_drop is None) == (min_sqnr is None):
        raise click.UsageError("Give one goal: --max-drop (with --labels) or --min-sqnr.")
    if max_drop is not None and labels is None:
        raise click.UsageError("--max-drop is about top-1, which needs --labels; --min-sqnr works without.")
    if len(engines) != len(profiles):
        raise click.UsageError("A cost needs times: give one --profile for each --engine, in the same order.")
    reports = [load_report(_engine(text)[1], profile=times) for text, times in zip(engines, profiles, strict=True)]
    regions = [_engine(text)[0] for text in engines]
    if any(regions) and (None in regions or len(set(regions)) < len(regions)):
        raise click.UsageError("--engine: give every one a precision of its own, or none.")
    cost = dict(zip(regions, reports, strict=True)) if any(regions) else reports
    result, found = search_to(
        out,
        model,
        samples,
        labels=labels,
        max_drop=max_drop,
        min_sqnr=min_sqnr,
        method=method,
        batch=batch,
        preprocessing=preprocess,
        evaluation=eval_samples,
        sensitivity="exact" if exact else "quick",
        cost=cost or None,  # type: ignore[arg-type]
        equalize=equalize,
        correct_bias=correct_bias,
        preset=preset,
        target=target,
        runs=runs,
    )
    click.echo(found.text())
    click.echo()
    return _report(result)


@cli.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="Where the model is, if not where the recipe says.")
@click.option("--recalibrate", is_flag=True, help="Measure the ranges again and say what moved.")
@click.option("--samples", type=click.Path(path_type=Path), help="Other samples for --recalibrate.")
@cli_engines.ALLOW_SCRIPTS
@OUT
def replay(
    recipe: Path, model: Path | None, recalibrate: bool, samples: Path | None, allow_scripts: bool, out: Path
) -> None:
    """Make the tuned model of RECIPE again: the same bytes, without a forward pass."""
    from workbench import jobs

    if samples is not None and not recalibrate:
        raise click.UsageError("--samples goes with --recalibrate; a plain replay measures nothing.")
    if recalibrate:
        moved, files = jobs.recalibrate(out, recipe, model=model, samples=samples, allow_scripts=allow_scripts)
        click.echo(f"{len(moved)} ranges moved" if moved else "no range moved")
        for one in moved[:20]:
            click.echo(f"  {one.tensor}: {one.before:.6g} -> {one.after:.6g} ({one.change:+.2%})")
        if len(moved) > 20:
            click.echo(f"  and {len(moved) - 20} more")
    else:
        files = jobs.replay_to(out, recipe, model=model, allow_scripts=allow_scripts)
        click.echo("the tuned model is, byte for byte, the recipe's")
    for path in files:
        click.echo(f"wrote {path}")


@cli.command()
@MODEL
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="The calibration cache made with MODEL.")
@click.option("--layer-precisions", metavar="LAYER:TYPE,...", help="The value of trtexec's --layerPrecisions.")
@click.option("--layer-output-types", metavar="LAYER:TYPE,...", help="The value of trtexec's --layerOutputTypes.")
@click.option("--fp16", is_flag=True, help="What is not INT8 becomes FP16, as with trtexec --int8 --fp16.")
@click.option("--engine", type=click.Path(path_type=Path), help="Inspector JSON: keep what that engine ran in float.")
@click.option("--target", help="What it is for: rtx@sm89, tensorrt-8.6, ...; any where left out.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The ONNX file; a recipe goes beside it.")
def migrate(
    model: Path,
    cache: Path,
    layer_precisions: str | None,
    layer_output_types: str | None,
    fp16: bool,
    engine: Path | None,
    target: str | None,
    out: Path,
) -> None:
    """Turn TensorRT's implicit INT8 (MODEL with a calibration cache) into an explicit Q/DQ graph for TensorRT 11."""
    from workbench import jobs

    result = jobs.migrate(
        model,
        cache,
        layer_precisions=layer_precisions,
        layer_output_types=layer_output_types,
        fp16=fp16,
        engine=engine,
        target=target,
    )
    files = jobs.migrate_to(out, result)
    click.echo(result.text())
    for path in files:
        click.echo(f"wrote {path}")


@cli.command()
@MODEL
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(model: Path, as_json: bool) -> None:
    """Print what MODEL is: nodes, parameters, MACs, operators, inputs, outputs, and what is odd about it."""
    from workbench.graph import load_model, summary

    found = summary(load_model(model))
    click.echo(found.to_json() if as_json else found.text())


@cli.command()
@click.option("--numerics", is_flag=True, help="Try whether ONNX Runtime computes graphs as they are written.")
def doctor(numerics: bool) -> int:
    """Say what is installed, which backends work here, and why the others do not."""
    from workbench.backends import backends
    from workbench.recipe import environment
    from workbench.telemetry import telemetry

    for name, version in environment().items():
        click.echo(f"{name:16} {version}")
    click.echo(f"{'telemetry':16} {telemetry()}")
    click.echo()
    for backend in backends():
        click.echo(f"{backend.name:16} {'works' if backend.works else 'does not work'}: {backend.reason}")
    return _numerics() if numerics else 0


def _numerics() -> int:
    """Print what ONNX Runtime is kept from doing, and whether it then computes what is written."""
    from workbench.runtime import SWITCHED_OFF, self_check

    click.echo("\nswitched off in ONNX Runtime:")
    for switch in SWITCHED_OFF:
        click.echo(f"  {switch}")
    click.echo()
    tried = list(self_check())
    wrong = [one for one in tried if not one.holds]
    for one in wrong[:MOST_LINES]:
        click.echo(f"not as written: {one}", err=True)
    if len(wrong) > MOST_LINES:
        click.echo(f"and {len(wrong) - MOST_LINES} more", err=True)
    click.echo(f"{len(tried) - len(wrong)} of {len(tried)} small graphs are computed as written")
    return BackendError.exit_code if wrong else 0


for _verb in (cli_engines.bench, cli_engines.engine, cli_engines.check):
    cli.add_command(_verb)


def _engine(text: str) -> tuple[str | None, Path]:
    """Read a file's name with the engine's precision before it: ``int8=graph.json``."""
    precision, equals, file = text.partition("=")
    return (precision, Path(file)) if equals and precision in PRECISIONS else (None, Path(text))


def _report(result: TuneResult) -> int:
    """Print what a tuning came to, and return the exit code."""
    click.echo(result.table())
    click.echo()
    for verdict in result.verdicts:
        click.echo(f"gate {verdict}")
    for sentence in result.workbench.advice:
        click.echo(f"note: {sentence}")
    for path in result.files:
        click.echo(f"wrote {path}")
    return 0 if result.passed else EXIT_GATE
