"""JUnit XML, as GitLab, Jenkins and GitHub's reporters read it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.handoff.ci.cases import Case

__all__ = ["junit"]

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write; names in a model may hold any."""


def junit(name: str, cases: Sequence[Case]) -> str:
    """Return cases as a document; a suite a group.

    Parameters
    ----------
    name
        Of the whole.
    cases
        In the order in which they are to be read.
    """
    counts = _counts(cases)
    # The schema that Jenkins checks documents against has how many were skipped in suites alone.
    del counts["skipped"]
    root = ET.Element("testsuites", {"name": _plain(name), **counts})
    for group in dict.fromkeys(case.group for case in cases):
        inside = [case for case in cases if case.group == group]
        suite = ET.SubElement(root, "testsuite", {"name": _plain(group), **_counts(inside)})
        for case in inside:
            attributes = {"name": _plain(case.name), "classname": _plain(group), "time": f"{case.seconds:.3f}"}
            element = ET.SubElement(suite, "testcase", attributes)
            if case.passed is None:
                ET.SubElement(element, "skipped", {"message": _plain(case.message)})
            elif not case.passed:
                ET.SubElement(element, "failure", {"message": _plain(case.message)}).text = _plain(case.details)
            elif case.message:
                ET.SubElement(element, "system-out").text = _plain(case.message)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(case.passed is False for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.passed is None for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _plain(text: str) -> str:
    return _NO_XML.sub(lambda match: ascii(match[0])[1:-1], text)
