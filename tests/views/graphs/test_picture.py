from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import pytest

from tests.kit import drawing, graphs
from workbench.graph.load import load_model
from workbench.views.graphs.layout.drawing import layered
from workbench.views.graphs.network import Network, Op, network_of
from workbench.views.graphs.overlay import Overlay
from workbench.views.graphs.panel import build_panel
from workbench.views.graphs.picture import GraphPicture
from workbench.views.graphs.rendering.marks import Box
from workbench.views.graphs.rendering.sheet import HIGHEST, sheet
from workbench.views.graphs.rendering.svg_writer import svg
from workbench.views.graphs.scene import clip, scene, text_width
from workbench.views.graphs.scopes import ShownScopes
from workbench.views.graphs.tree import flat_tree
from workbench.views.kit.picture import PNG_MAX_HEIGHT, png_size
from workbench.views.kit.themes import DARK, LIGHT

SVG = "{http://www.w3.org/2000/svg}"
REAL = ["yolox_nano", "vit_mnist_selftrained", "silero_vad_16k_op15", "agllnet_256"]


def picture(layers=6, **options) -> GraphPicture:
    result = GraphPicture(graphs.decoder(layers), "a decoder", **options)
    result.shown = result.scopes.expand(result.shown, "layers.2/attn")
    return result


def inside(root: ET.Element) -> None:
    """Everything drawn lies on the picture."""
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) >= 0
        assert float(rect.get("x", 0)) + float(rect.get("width")) <= width + 0.1
        assert float(rect.get("y", 0)) + float(rect.get("height")) <= height + 0.1
    for text in root.iter(f"{SVG}text"):
        wide = text_width(text.text or "", float(text.get("font-size")))
        left = float(text.get("x")) - {"middle": wide / 2, "start": 0, "end": wide}[text.get("text-anchor")]
        assert left >= -0.1, text.text
        assert left + wide <= width + 0.1, text.text
    for path in root.iter(f"{SVG}path"):
        first = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d"))[:2]]
        assert 0 <= first[0] <= width
        assert 0 <= first[1] <= height


@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_the_svg_is_whole_and_nothing_is_clipped(theme) -> None:
    root = ET.fromstring(picture().svg(theme))  # noqa: S314
    inside(root)
    assert root.get("aria-label") == "a decoder"


def test_a_fixed_theme_needs_no_css_and_auto_follows_the_reader() -> None:
    view = picture()
    assert "var(" not in view.svg("dark")
    assert DARK.paper in view.svg("dark")
    assert LIGHT.paper in view.svg("light")
    assert "prefers-color-scheme" in view.svg("auto")


def test_text_fits_its_card() -> None:
    view = picture()
    for card in scene(view.panel()).cards:
        assert text_width(card.label, 12) <= card.width
        assert text_width(card.note, 10.5) <= card.width


def test_long_names_lose_their_middle() -> None:
    short = clip("/encoder/layers.0/self_attention/value/MatMul_with_bias", 12, 120)
    assert text_width(short, 12) <= 120
    assert short.startswith("/enc")
    assert short.endswith("bias")
    assert clip("short", 12, 120) == "short"


def test_names_are_escaped() -> None:
    ops = [Op('<a> & "b"', "Relu", ("x",), ("<y>",)), Op("n", "Relu", ("<y>",), ("z",))]
    view = GraphPicture(Network(ops, ["x"], ["z"]), "<model> & co")
    ET.fromstring(view.svg())  # noqa: S314
    assert "<title>&lt;model&gt; &amp; co</title>" in view.html()


def test_wires_join_the_cards_they_say() -> None:
    view = picture()
    drawn = scene(view.panel())
    boxes = {box.item.id: box for box in (*drawn.cards, *drawn.frames)}
    for wire in drawn.wires:
        for name, (x, y) in ((wire.tail, wire.points[0]), (wire.head, wire.points[-1])):
            if name in boxes:
                box = boxes[name]
                assert box.x - 0.1 <= x <= box.x + box.width + 0.1
                assert min(abs(y - box.y), abs(y - box.y - box.height)) < 0.1


def test_frames_hold_their_panels_and_do_not_touch_other_cards() -> None:
    view = picture()
    panel = view.panel()
    drawn = scene(panel)
    inner = {item.id for open_ in panel.walk() if open_.panel for item in open_.panel.walk()}
    for frame in drawn.frames:
        mine = {item.id for item in frame.item.panel.walk()}
        for card in drawn.cards:
            within = frame.x < card.x and card.x + card.width < frame.x + frame.width
            within &= frame.y < card.y and card.y + card.height < frame.y + frame.height
            assert within == (card.item.id in mine), (frame.item.id, card.item.id)
    assert inner


def test_a_column_sizes_the_cards() -> None:
    values = {"/layers.2/attn/MatMul": 100.0, "/layers.2/attn/Add": 1.0}
    plain = {card.item.id: card for card in scene(picture().panel()).cards}
    view = picture(size_by=Overlay("MACs", values))
    svg = view.svg()
    assert "sized by MACs" in svg
    root = ET.fromstring(svg)  # noqa: S314
    cards = [group for group in root.iter(f"{SVG}g") if group.get("class") == "wb-card"]
    widths = {group.get("data-id"): float(group.find(f"{SVG}rect").get("width")) for group in cards}
    assert widths["/layers.2/attn/MatMul"] == pytest.approx(2 * plain["/layers.2/attn/MatMul"].width, abs=1)
    assert widths["/layers.2/attn/Add"] == pytest.approx(plain["/layers.2/attn/Add"].width, abs=1)


def test_the_png_has_the_same_shape_and_a_capped_height() -> None:
    pytest.importorskip("PIL")
    view = picture(4)
    size = png_size(view.png())
    root = ET.fromstring(view.svg())  # noqa: S314
    assert size[0] / size[1] == pytest.approx(float(root.get("width")) / float(root.get("height")), rel=0.01)
    tall = GraphPicture(graphs.chain([(f"n{at}", f"Op{at}") for at in range(45)]))
    assert png_size(tall.png())[1] <= PNG_MAX_HEIGHT


def test_a_png_too_high_to_be_read_is_cut_into_columns_between_the_cards() -> None:
    tall = GraphPicture(graphs.chain([(f"n{at}", f"Op{at}") for at in range(150)]), shown=ShownScopes())
    tall.scopes.tree = flat_tree(tall.scopes.network)
    drawing = tall.drawing()
    columns = sheet(drawing).columns
    assert len(columns) > 1
    assert max(foot - top for top, foot in columns) <= HIGHEST
    assert [top for top, _ in columns[1:]] == [foot for _, foot in columns[:-1]]
    cards = [mark for group in drawing.groups if group.kind == "card" for mark in group.marks if isinstance(mark, Box)]
    assert not any(card.y < cut < card.y + card.height for card in cards for _, cut in columns[:-1])
    width, height = png_size(tall.png("dark"))
    assert height <= PNG_MAX_HEIGHT
    assert width >= drawing.width * len(columns)
    low = GraphPicture(graphs.chain([(f"n{at}", f"Op{at}") for at in range(5)]))
    assert len(sheet(low.drawing()).columns) == 1


def test_an_svg_too_high_to_be_read_has_the_same_columns() -> None:
    tall = GraphPicture(graphs.chain([(f"n{at}", f"Op{at}") for at in range(150)]), shown=ShownScopes())
    tall.scopes.tree = flat_tree(tall.scopes.network)
    whole = tall.drawing()
    root = ET.fromstring(tall.svg("light"))  # noqa: S314
    assert float(root.get("height")) <= HIGHEST < whole.height
    windows = [part for part in root.iter(f"{SVG}svg") if part is not root]
    assert len(windows) == len(sheet(whole).columns) > 1
    for window in windows:
        assert float(window.get("x")) + float(window.get("width")) <= float(root.get("width")) + 0.1
        assert float(window.get("y")) + float(window.get("height")) <= float(root.get("height")) + 0.1
    # Every card is in one column, whole; every wire is where it is seen.
    cards = [group.get("data-id") for group in root.iter(f"{SVG}g") if group.get("class") == "wb-card"]
    assert sorted(cards) == sorted(group.data["id"] for group in whole.groups if group.kind == "card")
    wires = {(g.get("data-tail"), g.get("data-head")) for g in root.iter(f"{SVG}g") if g.get("class") == "wb-wire"}
    assert wires == {(g.data["tail"], g.data["head"]) for g in whole.groups if g.kind == "wire"}
    assert "goes on at the top of the next column" in "".join(root.itertext())
    # A page scrolls; there it is one piece.
    assert "wb-column" not in svg(whole, inside=True)


def test_the_png_shows_the_colours_of_its_theme() -> None:
    image = pytest.importorskip("PIL.Image")
    for theme, paper in (("light", LIGHT.paper), ("dark", DARK.paper)):
        shown = image.open(io.BytesIO(picture(4).png(theme)))
        assert "#{:02x}{:02x}{:02x}".format(*shown.getpixel((1, 1))) == paper
        assert len(shown.getcolors(1 << 20)) > 50


def test_the_html_asks_for_nothing_from_anywhere() -> None:
    page = picture().html()
    assert "<script" not in page
    assert set(re.findall(r"https?://[^\"' )]+", page)) == {"http://www.w3.org/2000/svg"}


def test_selected_things_are_marked_in_the_still_picture() -> None:
    view = picture()
    before = view.svg("light").count(LIGHT.accent)
    view.shown = view.scopes.select(view.shown, ["/layers.2/attn/Softmax", "/layers.4/mlp/Gelu"])
    items = view.selected_items(view.panel())
    assert {"/layers.2/attn/Softmax", "layers.4/"} <= items
    assert not {"layers.1/", "/layers.2/attn/Add"} & items
    assert view.svg("light").count(LIGHT.accent) > before


def test_the_same_model_gives_the_same_bytes() -> None:
    assert picture().svg() == picture().svg()
    assert picture().png() == picture().png()


@pytest.mark.parametrize("name", REAL)
def test_real_models_are_drawn_whole(shared, name) -> None:
    view = GraphPicture(network_of(load_model(shared / "models" / name / "model.onnx")), name)
    inside(ET.fromstring(view.svg()))  # noqa: S314


def closed_panels(view):
    """The panels of up to eight scopes of a model, each with nothing open in it."""
    for path in [path for path in view.scopes.tree.scopes if path][:8]:
        shown = view.scopes.expand(ShownScopes(), path)
        inner = [item.panel for item in view.scopes.panel(shown).walk() if item.panel is not None]
        yield next(panel for panel in inner if panel.path == path)


def test_collapsed_views_of_all_real_models_cross_little_more_than_graphviz(shared) -> None:
    ours = theirs = count = 0
    for path in sorted((shared / "models").glob("*/model.onnx")):
        view = GraphPicture(network_of(load_model(path)))
        assert 1 < view.panel().visible() <= 60
        for panel in closed_panels(view):
            edges = sorted({(link.tail, link.head) for link in panel.links})
            widths, heights = [120] * len(panel.items), [40] * len(panel.items)
            drawn = layered(widths, heights, edges)
            graphviz = drawing.dot(widths, heights, edges)
            if graphviz is None:
                pytest.skip("Graphviz is not installed; it is what this test compares with")
            ours += drawing.crossings([drawing.bend(points) for points in drawn.paths], edges)
            theirs += graphviz
            count += 1
    assert count > 100
    assert ours <= 1.5 * theirs


@pytest.mark.slow  # dot takes its time
def test_flat_drawings_of_real_models_cross_little_more_than_graphviz(shared) -> None:
    for name in ("gtcrn_simple", "silero_vad_16k_op15"):
        panel = build_panel(flat_tree(network_of(load_model(shared / "models" / name / "model.onnx"))), ())
        edges = sorted({(link.tail, link.head) for link in panel.links})
        widths, heights = [120] * len(panel.items), [40] * len(panel.items)
        drawn = layered(widths, heights, edges)
        graphviz = drawing.dot(widths, heights, edges)
        if graphviz is None:
            pytest.skip("Graphviz is not installed; it is what this test compares with")
        ours = drawing.crossings([drawing.bend(points) for points in drawn.paths], edges)
        assert ours <= 1.5 * graphviz, name
