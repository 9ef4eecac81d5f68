"""The dossier has all that was measured, with its conditions, and says what was not."""

from __future__ import annotations

import contextlib
import re
import shutil
from types import SimpleNamespace

import pytest

import workbench
from tests.kit.lab import PATIENCE_MS, MissingError, chromium
from workbench.jobs import tune
from workbench.jobs.dossier import BROWSERS, _gpu, write_dossier


@pytest.fixture(scope="module")
def tuned(small_cnn, small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dossier")
    labels = small_data.with_name("labels.npy")
    tune(small_cnn, small_data, folder / "out", labels=labels, gates=("sqnr_db >= 15", "p95_ms <= 1000"), runs=0)
    return folder / "out/recipe.yaml"


@pytest.fixture(scope="module")
def dossier(tuned, small_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    pdf = any(shutil.which(name) for name in BROWSERS)
    gates = ("p99_ms <= 1e-6", "device_mib <= 1")
    return write_dossier(
        tuned, out / "d", title="北京工厂 <调优>", field=small_data, gates=gates, batches=(1, 4), runs=10, pdf=pdf
    )


def test_each_part_is_there_with_its_conditions(dossier):
    page = dossier.files[0].read_text()
    for message in (
        "北京工厂 &lt;调优&gt;",
        "2 of 4 gates failed",
        "Latency and the service level",
        "p95 &lt;= 1000 ms",
        "Throughput and memory against the batch",
        "95% confidence interval",
        "Precision of each layer, and why",
        "fingerprint ",
        "0 of 4 tensors leave their ranges on 12 samples",
        "Fusion",
        "Findings left",
        "Pin the versions",
        "workbench replay recipe.yaml",
        "10 runs after",
        "load while it was measured",
    ):
        assert message in page, message
    assert 'lang="zh"' in page


def test_it_loads_nothing_and_has_both_themes(dossier):
    page = dossier.files[0].read_text()
    assert not re.search(r'<(?:script|link|iframe)|(?:src|href|srcset)="(?!data:|#)', page)
    assert page.count('media="(prefers-color-scheme: dark)"') == page.count("<picture>") >= 3


def test_gates_are_judged_on_what_this_run_measured(dossier):
    passed = {verdict.gate.split()[0]: verdict for verdict in dossier.verdicts}
    assert passed["sqnr_db"].passed
    assert passed["p95_ms"].passed
    assert "10 runs" in passed["p95_ms"].conditions
    assert not passed["p99_ms"].passed
    assert passed["device_mib"].reason == "what timed the engine does not tell"
    assert dossier.exit_code == 12


def test_readings_of_a_gpu_are_said_in_words():
    clocks = {"sm_clock_mhz": [1200, 1980], "power_w": [70.0, 400.2], "slowed_by": ["power cap"], "readings": 9}
    message = dict(_gpu(SimpleNamespace(conditions={"gpu": "H200", "clocks": clocks, "runs": 9})))
    assert message["gpu"] == "H200"
    assert message["clocks"].endswith("; held back by power cap")
    assert "1200 to 1980 MHz" in message["clocks"]
    assert "{" not in message["clocks"]


def test_what_has_several_lines_keeps_them(dossier):
    page = dossier.files[0].read_text()
    assert "\nworkbench recipe verify " in page
    assert "<pre>workbench: 1\nmodel:" in page
    assert "\u240a" not in page  # the picture of a line break


def test_it_prints_to_pdf(dossier):
    if len(dossier.files) == 1:
        pytest.skip("no Chromium browser is on the PATH")
    assert dossier.files[1].read_bytes().startswith(b"%PDF-")


BROKEN = r"""() => {
  const broken = [], range = document.createRange();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    if (!text.parentElement.closest("td:not(.long), th:not(.long)")) continue;
    for (const word of text.data.matchAll(/\w+/g)) {
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(line => line.top)).size > 1) broken.push(word[0]);
    }
  }
  return broken;
}"""
"""The words of tables that go on in another line."""


def test_no_part_is_clipped_on_a_narrow_page_or_a_wide_one(dossier):
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium())
        except MissingError as error:
            pytest.skip(str(error))
        for width in (420, 1200):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="dark")
            page.set_default_timeout(PATIENCE_MS)
            asked = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(dossier.files[0].as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(BROKEN) == []
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_what_cannot_be_measured_is_said_and_the_rest_goes_on(small_cnn, small_data, tmp_path):
    wb = workbench.open_model(small_cnn)
    wb.calibrate(dict(workbench_samples(small_data)))
    wb.plan.set("op:Conv", "int8")
    wb.require("sqnr_db >= 10")
    wb.save(tmp_path / "r")
    result = write_dossier(tmp_path / "r/recipe.yaml", tmp_path / "d", runs=10, batches=(1,))
    assert any("its samples were no file" in remark for remark in result.remarks)
    page = result.files[0].read_text()
    assert "Not measured: a comparison" in page
    assert "Latency and the service level" in page


def workbench_samples(path):
    import numpy as np

    return np.load(path)
