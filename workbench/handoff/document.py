"""What our pages have in common: one file that loads nothing, right in light and dark and on paper."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from workbench.views.kit import FONT, css_variables, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.views.kit import Pictured

__all__ = ["html_document", "html_table", "picture"]

LONG = 28
"""Characters from which a word may be broken. Operators have fewer: the longest of ONNX has 25."""

SCOPES = r"(?<=[/._:])(?=.)"
"""Where a name may be broken: after what ends a scope."""

STYLE = f"""
{css_variables()}
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 {FONT}; color: var(--wb-ink); background: var(--wb-paper); margin: 2rem auto;
       max-width: 60rem; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; overflow-wrap: anywhere; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; }}
th, td {{ border-bottom: 1px solid var(--wb-line); }}
td.n {{ text-align: right; white-space: nowrap; }} th.n {{ text-align: right; }}
.muted {{ color: var(--wb-muted); }} .good {{ color: var(--wb-good); }} .bad {{ color: var(--wb-bad); }}
img {{ max-width: 100%; height: auto; }} a {{ color: inherit; }}
pre {{ background: var(--wb-panel); padding: 1rem; font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere; }}
p, li {{ overflow-wrap: anywhere; }}
.scroll {{ overflow-x: auto; }} .long {{ overflow-wrap: anywhere; }}
@media print {{
  @page {{ size: A4; margin: 14mm; }}
  body {{ margin: 0; max-width: none; padding: 0; font-size: 10pt; }}
  .scroll {{ overflow: visible; }} h2 {{ break-after: avoid; }} tr, img, picture {{ break-inside: avoid; }}
}}
"""


def html_document(title: str, body: Iterable[str], *, language: str = "en") -> str:
    """Return a whole page.

    Parameters
    ----------
    title
        As text.
    body
        Its parts, as HTML.
    language
        Of the page: what fonts are chosen by where a script has several.
    """
    return (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"{''.join(body)}</body></html>\n"
    )


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = ()) -> str:
    """Return a table of texts; columns of numbers are set right."""

    def cell(tag: str, column: int, text: str) -> str:
        style = ' class="n"' if column in numeric else ' class="long"' if _is_long(text) else ""
        return f"<{tag}{style}>{_breakable(text)}</{tag}>"

    lines = "".join("<tr>" + "".join(cell("td", i, text) for i, text in enumerate(row)) + "</tr>" for row in rows)
    heads = "".join(cell("th", i, text) for i, text in enumerate(head))
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def _breakable(text: str) -> str:
    """Return it as HTML in which a long name breaks at its scopes: a browser alone breaks none, or any word."""
    return " ".join(
        "<wbr>".join(map(escape, re.split(SCOPES, word))) if len(word) > LONG else escape(word)
        for word in text.split(" ")
    )


def _is_long(text: str) -> bool:
    return any(len(part) > LONG for word in text.split() for part in re.split(SCOPES, word))


def picture(view: Pictured, alt: str) -> str:
    """Return a view as HTML: both themes are embedded, the reader's preference picks one."""
    light, dark = map(_data_uri, view.svgs())
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img alt="{escape(alt)}" src="{light}"></picture>'
    )


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
