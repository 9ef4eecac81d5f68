"""Documents and other text: recipes, selectors, caches, an engine's files, the command line."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import click
import yaml

import workbench
from tests.fuzz import bases, mutate
from tests.fuzz.registry import kind, known, one_line, tolerated, valid_svg
from workbench import views
from workbench.errors import WorkbenchError


@kind
def recipe(rng, folder, base):
    """Parts of a recipe, its text, and what YAML has beyond what a recipe needs."""
    text = _text(str(base / "recipe.yaml"))
    what = rng.randrange(4)
    if what < 2:
        document = mutate.document(rng, yaml.safe_load(text))
        try:
            content = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")
        except (yaml.YAMLError, RecursionError, ValueError):
            content = mutate.as_json(document)
    elif what == 2:
        content = mutate.content(rng, text.encode())
    else:
        old = rng.choice(("2.0", "fp16", "'op:Gemm'", "workbench: 1", "batch: 2", "op:Gemm"))
        new = rng.choice(YAML)
        content = text.replace(old, f"{old.split(':')[0]}: {new}" if ": " in old else new, 1).encode()
    path = folder / "recipe.yaml"
    path.write_bytes(content.replace(b"m.onnx", str(base / "m.onnx").encode()))
    wb = tolerated(workbench.open_recipe, path)
    if wb is not None:
        tolerated(wb.tune)


YAML = (
    *("2026-11-27", "2026-11-27 10:00:00", "0x7f", "1_000", "1e400", ".inf", ".nan", "190:20:30"),
    *(
        "!!python/object:os.x",
        "!!binary aGk=",
        "!!set {a}",
        "!!omap [a: 1]",
        "&a [*a]",
        "*b",
        "&a [1, *a]",
        "|\n  x",
        "<<: {a: 1}",
        "? a\n: b",
    ),
    *("[" * 2000, "{a: " * 2000, "9" * 5000, "-" + "9" * 4400, "- " * 3000, "!!float '1'"),
    *("yes", "~", "'\\x00'", '"\\ud800"'),
    "\n".join(f"  - &l{i} [{', '.join([f'*l{i - 1}'] * 9) if i else 'x'}]" for i in range(12)),
)


@functools.cache
def _text(path):
    return Path(path).read_text(encoding="utf-8")


@kind
def selector(rng, _folder, base):
    """The language that nodes are named in."""
    from workbench.graph.select.language import parse, select

    text = mutate.content(rng, rng.choice(bases.SELECTORS).encode()).decode("utf-8", "replace")
    if rng.random() < 0.1:
        text = rng.choice(("(", "not ", "!", "a & ", "up(", "**", "[a", "a|")) * rng.choice((10, 300, 3000)) + text
    model = known(str(base)).model
    if tolerated(parse, text) is not None:
        tolerated(select, model, text)


@kind
def preprocessing(rng, _folder, _base):
    """What ``--preprocess`` takes."""
    from workbench.calibration.preprocessing import Preprocessing

    text = mutate.content(rng, rng.choice(bases.PREPROCESSING).encode()).decode("utf-8", "replace")
    tolerated(Preprocessing.parse, text)


@kind
def journal(rng, folder, _base):
    """A journal of a sensitivity."""
    from workbench.precision.sensitivity.journal import open_journal

    path = folder / "j"
    lines = [
        json.dumps({"a": 1}),
        json.dumps({"node": "n", "op_type": "Conv", "sqnr_db": 1.0, "mean_kl": 0.1, "task": None}),
    ]
    path.write_bytes(mutate.content(rng, "\n".join([*lines, ""]).encode()))

    def read():
        with open_journal(path, {"a": 1}) as book:
            book.add({"node": "x"})

    tolerated(read)


@kind
def cache(rng, folder, base):
    """Calibration caches of TensorRT and ONNX Runtime."""
    path = folder / "calibration.cache"
    if rng.random() < 0.3:
        path.write_bytes(mutate.as_json(mutate.document(rng, json.loads(bases.RUNTIME_CACHE))))
    else:
        path.write_bytes(mutate.content(rng, rng.choice((bases.TENSORRT_CACHE, bases.RUNTIME_CACHE, bases.TEXT_CACHE))))
    wb = known(str(base))
    if tolerated(wb.ranges.use_cache, path) is not None:
        wb.undo()


@kind
def engine(rng, folder, base):
    """Inspector JSON, profiles, times and metadata of engines."""
    from workbench.engine.export import engine_onnx
    from workbench.engine.summary import load_engine

    files = {}
    for name, good in (("graph", bases.ENGINE), ("profile", bases.PROFILE), ("timing", bases.TIMING)):
        text = json.dumps(good).encode()
        if rng.random() < 0.6:
            text = mutate.as_json(mutate.document(rng, good)) if rng.random() < 0.7 else mutate.content(rng, text)
        files[name] = folder / f"{name}.json"
        files[name].write_bytes(text)
    if rng.random() < 0.5:
        del files["profile"], files["timing"]
    model = known(str(base)).model if rng.random() < 0.5 else None
    verdict = tolerated(load_engine, files.pop("graph"), model=model, **files)
    if verdict is None:
        return
    verdict.text()
    json.loads(verdict.json())
    tolerated(engine_onnx, verdict.report)
    if rng.random() < 0.3:
        valid_svg(views.engine(verdict).svg())


@kind
def manifest(rng, folder, _base):
    """The manifest beside an engine."""
    from workbench.backends.manifest import read_engine

    path = folder / "m.engine"
    path.write_bytes(b"engine")
    good = {
        "format": "workbench-engine/1",
        "backend": "tensorrt",
        "version": "8.6",
        "engine_sha256": hashlib.sha256(b"engine").hexdigest(),
        "options": {},
    }
    beside = path.with_name("m.engine.json")
    beside.write_bytes(
        mutate.as_json(mutate.document(rng, good))
        if rng.random() < 0.6
        else mutate.content(rng, json.dumps(good).encode())
    )
    tolerated(read_engine, path)


@kind
def words(rng, folder, base):
    """Options of the command line."""
    from workbench.cli.program import cli

    model, data, out = base / "m.onnx", base / "s.npz", folder / "o"
    tune = ["tune", model, "--samples", data, "--out", out, "--runs", "0"]
    good = rng.choice(
        (
            ["inspect", model, "--json"],
            ["engine", model],
            [*tune, "--preset", "fp16", "--target", "rtx@sm86"],
            [*tune, "--batch", "2", "--method", "percentile", "--percentile", "99.9"],
            ["replay", base / "recipe.yaml", "--out", out],
            ["migrate", model, "--cache", data, "--out", folder / "t.onnx", "--layer-precisions", "a:fp16,*:int8"],
        )
    )
    entries = [str(word) for word in good]
    place = rng.randrange(1, len(entries))
    entries[place] = rng.choice(
        (
            *mutate.NAMES,
            "-1",
            "0",
            "1e400",
            "nan",
            str(folder),
            str(base / "m.onnx"),
            "9" * 5000,
            "a,b:c",
            "rtx@sm999",
            "--",
            "=",
        )
    )
    entries = [word.replace("\ud800", "?").replace("\0", "?") for word in entries]  # what no system hands over
    try:
        cli.main(entries, prog_name="workbench", standalone_mode=False)
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        return
    except WorkbenchError as error:
        one_line(error)
