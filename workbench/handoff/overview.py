"""One page of a fleet: what passed, and the worst figure of each site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from workbench.handoff.document import html_document
from workbench.views.kit import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["fleet_page"]

STYLES = {"passed": "good", "failed": "bad", "broken": "bad"}
WORDS = {"passed": "passed", "failed": "a gate failed", "broken": "no result"}


def fleet_page(name: str, outcomes: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of a fleet, sites that did not pass first.

    Parameters
    ----------
    name
        Of the fleet.
    outcomes
        One a site: ``site``, ``state``, ``worst``, ``gates``, ``files``, ``seconds``, ``worker``.
    """
    passed = sum(one["state"] == "passed" for one in outcomes)
    ordered = sorted(outcomes, key=lambda one: ("broken", "failed", "passed").index(one["state"]))
    rows = "".join(map(_row, ordered))
    heads = "".join(f"<th>{text}</th>" for text in ("site", "", "worst figure", "files")) + '<th class="n">s</th>'
    body = [
        f"<h1>Fleet {escape(name)}: {passed} of {len(outcomes)} sites passed</h1>",
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>',
    ]
    for one in ordered:
        if one["gates"]:
            gates = "".join(
                f'<li class="{"good" if good else "bad"}">{escape(text)}</li>' for text, good in one["gates"]
            )
            body.append(f"<h2>{escape(one['site'])}</h2><ul>{gates}</ul>")
    return html_document(f"Fleet {name}", body)


def _row(outcome: Mapping[str, Any]) -> str:
    links = " ".join(
        f'<a href="{quote(file)}">{escape(file.rsplit("/", 1)[-1])}</a>' for file in map(str, outcome["files"])
    )
    state = f'<b class="{STYLES[outcome["state"]]}">{WORDS[outcome["state"]]}</b>'
    return (
        f'<tr><td class="name">{escape(outcome["site"])}</td><td>{state}</td>'
        f'<td class="name">{escape(outcome["worst"])}</td><td class="name">{links}</td>'
        f'<td class="n" title="{escape(outcome["worker"])}">{outcome["seconds"]:.1f}</td></tr>'
    )
