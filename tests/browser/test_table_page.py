"""The table of every page, by itself in Chromium: lines are made as far down as somebody looks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import workbench.views.kit.table as kit
from tests.kit.lab import PATIENCE_MS
from workbench.views.kit import Column, Row, page, table_state

pytestmark = pytest.mark.slow

COUNT = 400
HOST = """<!DOCTYPE html><style>{style} .wb-scroll {{ height: 300px; }}</style><body><script type="module">
{script}
const state = {state};
window.sent = [];
const model = {{ get: (name) => state[name], on() {{}}, off() {{}}, send: (message) => sent.push(message) }};
window.page = new TablePage(model);
window.show = (marks) => page.mark((state.marks = {{ ...state.marks, ...marks }}));
page.open(document.body);
</script>"""
LINES = "document.querySelectorAll('tbody tr').length"
SCROLL = "document.querySelector('.wb-scroll')"
SHOWN = """id => {
    const line = document.querySelector(`tr[data-id="${id}"]`)?.getBoundingClientRect();
    const room = document.querySelector('.wb-scroll').getBoundingClientRect();
    return Boolean(line) && line.top >= room.top && line.bottom <= room.bottom;
}"""


@pytest.fixture
def table(browser, tmp_path):
    columns = [Column("name", "name"), Column("size", "size", "number")]
    rows = [Row(f"n{at}", f"n{at}", {"name": f"n{at}", "size": at}, {"name": f"n{at}"}) for at in range(COUNT)]
    state = {"scene": table_state(columns, rows), "marks": {"selected": [], "order": ["", False], "version": 0}}
    script, style = page(Path(kit.__file__).with_name("table.js"))
    host = tmp_path / "table.html"
    host.write_text(HOST.format(style=style, script=script, state=json.dumps(state)), encoding="utf-8")
    opened = browser.new_page(viewport={"width": 700, "height": 500})
    opened.set_default_timeout(PATIENCE_MS)
    opened.goto(host.as_uri())
    opened.locator("tbody tr").first.wait_for()
    yield opened
    opened.close()


def test_lines_are_made_as_far_as_one_scrolls_and_the_room_is_kept(table) -> None:
    outcome = table.evaluate(LINES)
    high = table.evaluate(f"{SCROLL}.scrollHeight")
    assert 20 < outcome < COUNT
    assert high == pytest.approx(COUNT * table.evaluate("document.querySelector('tbody tr').offsetHeight"), rel=0.1)
    table.evaluate(f"{SCROLL}.scrollTop = {high} / 2")
    table.wait_for_function(SHOWN, arg=f"n{COUNT // 2}")
    assert table.evaluate(LINES) < COUNT
    table.evaluate(f"{SCROLL}.scrollTop = {high}")
    table.wait_for_function(SHOWN, arg=f"n{COUNT - 1}")
    assert table.evaluate(LINES) == COUNT
    assert table.evaluate(f"{SCROLL}.scrollHeight") == pytest.approx(high, rel=0.02)
    table.evaluate("page.redraw()")  # a change of the session; who looked at the end still does
    table.wait_for_function(SHOWN, arg=f"n{COUNT - 1}")


def test_what_is_chosen_elsewhere_far_down_is_made_marked_and_scrolled_to(table) -> None:
    table.evaluate(f"show({{ selected: ['n{COUNT - 100}', 'n{COUNT - 50}'] }})")
    table.wait_for_function(SHOWN, arg=f"n{COUNT - 100}")
    table.evaluate(f"{SCROLL}.scrollTop = 1e6")
    table.wait_for_function(SHOWN, arg=f"n{COUNT - 1}")
    chosen = "[...document.querySelectorAll('tr[aria-selected=true]')].map((line) => line.dataset.id)"
    assert table.evaluate(chosen) == [f"n{COUNT - 100}", f"n{COUNT - 50}"]


def test_arrow_keys_go_on_past_the_last_line_that_was_made(table) -> None:
    last = table.evaluate(LINES) - 1
    table.locator("tbody tr").nth(last).focus()
    table.keyboard.press("ArrowDown")
    assert table.evaluate("document.activeElement.dataset.id") == f"n{last + 1}"
    table.keyboard.press("Enter")
    assert table.evaluate("sent.at(-1)")["rows"] == [f"n{last + 1}"]


def test_a_search_lists_what_passes_from_the_top(table) -> None:
    table.evaluate(f"{SCROLL}.scrollTop = 3000")
    table.wait_for_function(SHOWN, arg="n145")
    table.locator(".wb-find").fill("n39")
    ids = "[...document.querySelectorAll('tbody tr')].map((line) => line.dataset.id)"
    table.wait_for_function(f"{LINES} === 11")
    assert table.evaluate(ids) == ["n39", *(f"n{at}" for at in range(390, 400))]
    assert table.locator("table").get_attribute("aria-rowcount") == "12"
