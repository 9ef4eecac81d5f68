"""What kinds of input have in common: their list, the valid files that they are made from, what may come of them."""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ET
from pathlib import Path

import workbench
from tests.fuzz import bases
from workbench.errors import WorkbenchError

KINDS = {}
"""Name to a function of (generator, folder of this input, folder of valid files)."""


def kind(function):
    KINDS[function.__name__] = function
    return function


def one_line(error):
    """Check that an error is one line."""
    assert len(str(error).splitlines()) == 1, str(error)


def tolerated(function, *arguments, **options):
    """Call a function that may refuse its input; return None where it does."""
    try:
        return function(*arguments, **options)
    except WorkbenchError as error:
        one_line(error)
        return None


def valid_svg(text):
    ET.fromstring(text)  # noqa: S314 - our own text


def prepare(folder):
    """Make the valid files that inputs are made from: one small model tuned, with all that is written on the way."""
    bases.save(bases.network(), folder / "m.onnx")
    (folder / "s.npz").write_bytes(bases.npz(x=bases.samples()))
    wb = tuned(folder)
    wb.ranges.statistics.save(folder / "statistics.npz")
    wb.plan.set("op:Gemm", "fp16")
    wb.set_range("r", 2.0)
    wb.edit("rename_node", node="block/add", to="block/sum")
    wb.require("sqnr_db", at_least=10.0)
    wb.tune()
    wb.recipe.save(folder / "recipe.yaml")


def tuned(folder):
    wb = workbench.open_model(folder / "m.onnx")
    wb.prepare()
    wb.calibrate(folder / "s.npz", batch=2)
    wb.plan.use("int8")
    return wb


@functools.cache
def known(base):
    """Return a workbench to read things into; what is read must not change it."""
    return tuned(Path(base))
