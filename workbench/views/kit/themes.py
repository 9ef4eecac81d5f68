"""The colours of every picture: color-blind safe, in a light and a dark theme."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.errors import WorkbenchError

__all__ = [
    "CJK",
    "CJK_FILES",
    "DARK",
    "FONT",
    "LIGHT",
    "OKABE_ITO",
    "PRECISION_COLOURS",
    "Theme",
    "ThemeName",
    "css_colour",
    "css_variables",
    "ink_on",
    "mpl_rc",
    "precision_colour",
    "ramp",
    "theme",
]

ThemeName = Literal["auto", "light", "dark"]

OKABE_ITO = {
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "green": "#009e73",
    "yellow": "#f0e442",
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "purple": "#cc79a7",
    "grey": "#999999",
}
"""Okabe and Ito, "Color Universal Design" (2008): told apart with every common form of color blindness."""

PRECISION_COLOURS = {
    "fp32": OKABE_ITO["vermillion"],
    "tf32": OKABE_ITO["orange"],
    "fp16": OKABE_ITO["sky"],
    "bf16": OKABE_ITO["purple"],
    "int8": OKABE_ITO["green"],
    "fp8": OKABE_ITO["blue"],
    "int4": OKABE_ITO["yellow"],
    "fp4": "#663311",
}
"""The one colour of each precision, in every picture, page and report."""

CJK = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
)
"""Fonts with Chinese characters, Japanese and Korean ones mostly among them; the first that is installed is taken."""

CJK_FILES = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "PingFang.ttc",
    "msyh.ttc",
)
"""Their files."""

FONT = f"system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, {str(CJK)[1:-1]}, sans-serif"

_VIRIDIS = (
    "#440154", "#481f70", "#443983", "#3b528b", "#31688e", "#287c8e", "#21918c",
    "#20a486", "#35b779", "#5ec962", "#90d743", "#c8e020", "#fde725",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Theme:
    """One set of colours; every field but `name` is a CSS colour.

    Attributes
    ----------
    paper, panel
        Background of the picture, and of a box or legend upon it.
    ink, muted
        Text, and text of second rank.
    line, edge
        Hairlines and grids, and the edges of a graph.
    accent
        Selection and focus; no precision looks like it, to color-blind readers neither.
    good, warn, bad
        A gate passed, a thing to look at, a gate failed.
    unknown
        An unknown value; never a colour of the ramp.
    """

    name: str
    paper: str
    panel: str
    ink: str
    muted: str
    line: str
    edge: str
    accent: str
    good: str
    warn: str
    bad: str
    unknown: str


LIGHT = Theme(
    name="light",
    paper="#ffffff",
    panel="#f6f7f9",
    ink="#1b1f24",
    muted="#59636e",
    line="#d4d9df",
    edge="#8c96a1",
    accent="#6600cc",
    good="#00785a",
    warn="#8f6200",
    bad="#b84a00",
    unknown="#c9ced4",
)
DARK = Theme(
    name="dark",
    paper="#14171c",
    panel="#1e2329",
    ink="#e8ebef",
    muted="#9aa4b0",
    line="#373e47",
    edge="#727d8a",
    accent="#aa66ff",
    good="#3fc79a",
    warn="#e6b23c",
    bad="#ff8a4c",
    unknown="#4a525c",
)


def theme(name: ThemeName) -> Theme:
    """Return the colours of a theme; "auto", which only CSS can decide, gives the light ones.

    Raises
    ------
    WorkbenchError
        There is no theme of that name.
    """
    themes = {"auto": LIGHT, "light": LIGHT, "dark": DARK}
    if name not in themes:
        raise WorkbenchError("there is no such theme", where=repr(name), fix='Use "auto", "light" or "dark"')
    return themes[name]


def precision_colour(name: str, colours: Theme) -> str:
    """Return the colour of a precision, in a theme; ``unknown`` has its own."""
    return colours.unknown if name == "unknown" else PRECISION_COLOURS.get(name, OKABE_ITO["grey"])


def css_colour(name: str) -> str:
    """Return the colour of a precision as a page with `css_variables` takes it."""
    return f"var(--wb-{name if name in PRECISION_COLOURS else 'unknown'})"


def css_variables(name: ThemeName = "auto", selector: str = ":root") -> str:
    """Return CSS that sets `--wb-paper`, `--wb-ink`, ... and `--wb-int8`, `--wb-fp16`, ... on `selector`.

    "auto" follows the reader's `prefers-color-scheme`; the other two are fixed.
    """

    def block(colours: Theme) -> str:
        values = {key: value for key, value in asdict(colours).items() if key != "name"}
        values |= {"bars": OKABE_ITO["sky"], **PRECISION_COLOURS}
        return selector + "{" + "".join(f"--wb-{key}:{value};" for key, value in values.items()) + "}"

    css = block(theme(name))
    return css if name != "auto" else f"{css}@media (prefers-color-scheme: dark){{{block(DARK)}}}"


def ramp(value: float) -> str:
    """Return the viridis colour of a value in 0 to 1 (clipped), as `#rrggbb`.

    The thirteen stops are those of matplotlib's viridis (CC0), straight lines between them.
    """
    at = min(max(value, 0.0), 1.0) * (len(_VIRIDIS) - 1)
    low = min(int(at), len(_VIRIDIS) - 2)
    pairs = zip(_channels(_VIRIDIS[low]), _channels(_VIRIDIS[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (at - low)):02x}" for a, b in pairs)


def ink_on(fill: str) -> str:
    """Return the text colour, near black or white, with the higher WCAG 2 contrast on a `#rrggbb` fill."""
    knee = 0.04045  # of the sRGB transfer function
    linear = [c / 12.92 if c <= knee else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(fill))]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Contrast with white equals that with near black (luminance 0.013) where (L + 0.05)^2 = 1.05 * 0.063.
    return "#ffffff" if (luminance + 0.05) ** 2 < 1.05 * 0.063 else LIGHT.ink


def mpl_rc(name: ThemeName = "light") -> Any:
    """Return matplotlib settings of a theme, for `with matplotlib.rc_context(mpl_rc("dark")):`."""
    colours = theme(name)
    return {
        "figure.facecolor": colours.paper,
        "savefig.facecolor": colours.paper,
        "axes.facecolor": colours.paper,
        "axes.edgecolor": colours.line,
        "axes.labelcolor": colours.ink,
        "axes.titlecolor": colours.ink,
        "axes.prop_cycle": _cycle(),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": colours.line,
        "text.color": colours.ink,
        "xtick.color": colours.muted,
        "ytick.color": colours.muted,
        "legend.facecolor": colours.panel,
        "legend.edgecolor": colours.line,
        "legend.labelcolor": colours.ink,
        "font.family": _families(),
        "text.parse_math": False,  # names may hold dollar signs
        "svg.fonttype": "none",
        "svg.hashsalt": "workbench",  # the same picture gives the same bytes
    }


@functools.cache
def _families() -> list[str]:
    """Return matplotlib's own font, then what is installed for characters that it has not."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    if not any(font.name in CJK for font in manager.ttflist):
        # Its list is of the day when it was first imported; a font that was installed since is not in it.
        for file in font_manager.findSystemFonts():
            if Path(file).name in CJK_FILES:
                manager.addfont(file)
    installed = {font.name for font in manager.ttflist}
    return ["DejaVu Sans", *(name for name in CJK if name in installed)]


def _cycle() -> Any:
    from cycler import cycler

    order = ("blue", "orange", "green", "vermillion", "sky", "purple", "grey")
    return cycler(color=[OKABE_ITO[name] for name in order])


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
