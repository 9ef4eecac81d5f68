"""A dossier of a small model: what is measured on ONNX Runtime, and what becomes of it."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.engine import EngineSummary
from workbench.jobs import dossier
from workbench.jobs.dossier import DossierResult, write_dossier
from workbench.recipe import GateResult
from workbench.recipe.versions import environment
from workbench.session import open_model


@pytest.fixture(scope="module")
def made(small_cnn, small_data, tmp_path_factory):
    """A dossier, and what was made a page of."""
    folder = tmp_path_factory.mktemp("dossier")
    wb = open_model(small_cnn)
    wb.calibrate(small_data)
    wb.plan.set("op:Conv", "int8")
    wb.require("sqnr_db", at_least=10)
    wb.save(folder / "tuned")
    np.savez(folder / "field.npz", x=3 * np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32))
    recipe, pages = folder / "tuned/recipe.yaml", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dossier, "dossier_page", lambda one: pages.append(one) or "a page")
        gates = ("p95_ms <= 1e6", "sqnr_db >= 10", "device_mib <= 1")
        options = {"batches": (2, 1, 2), "runs": 10, "gates": gates, "field": folder / "field.npz"}
        result = write_dossier(recipe, folder / "out", **options)
        patch.setattr(dossier, "_browser", lambda: "chromium")
        patch.setattr(dossier, "_printed", lambda browser, text: f"{text} by {browser}".encode())
        patch.setattr(dossier._Measuring, "dossier", lambda measuring, _: measuring.page)
        patch.setattr(dossier._Measuring, "page", pages[0], raising=False)
        printed = write_dossier(recipe, folder / "printed", pdf=True)
    return result, pages[0], printed


def test_gates_of_the_recipe_and_those_asked_for_are_judged_once_each(made):
    result, page, _ = made
    said = [(verdict.gate, verdict.passed) for verdict in result.verdicts]
    assert said == [("sqnr_db >= 10", True), ("p95_ms <= 1e+06", True), ("device_mib <= 1", False)]
    assert result.verdicts == tuple(page.verdicts)
    assert result.exit_code == 12
    assert result.text().splitlines() == [f"gate {verdict}" for verdict in result.verdicts]
    assert result.verdicts[1].conditions == "onnxruntime, 10 runs"


def test_each_batch_is_timed_once_smallest_first(made):
    _, page, _ = made
    assert [one.batch for one in page.batches] == [1, 2]
    first, second = page.batches
    assert first.activations_mib < second.activations_mib < 2 * first.activations_mib
    assert (page.before.runs, page.after.runs) == (10, 10)
    assert page.comparison.samples == 12
    assert isinstance(page.engine, EngineSummary)


def test_the_field_and_the_workspace_are_told(made):
    _, page, _ = made
    assert page.field_samples == 5
    assert page.drift[0].outside > 0
    assert page.suggested_workspace_mib == 256
    assert page.title == "small_cnn: from FP32 to a tuned model"
    assert page.notes == ()
    version = environment().get("trt-workbench", "")
    assert page.replay[0] == f'pip install "trt-workbench=={version}"'
    assert page.replay[2] == "workbench replay recipe.yaml --out replayed"
    assert {"system", "processor"} <= page.machine.keys()


def test_a_page_is_written_and_printed_where_that_is_asked_for(made):
    result, _, printed = made
    assert [path.name for path in result.files] == ["report.html"]
    assert [path.name for path in printed.files] == ["report.html", "report.pdf"]
    assert [path.read_text() for path in printed.files] == ["a page", "a page by chromium"]


def test_without_gates_that_is_said():
    assert DossierResult((), (), ()).text() == "there were no gates to judge"
    assert DossierResult((), (GateResult("layers <= 1", 1.0, True),), ()).exit_code == 0
