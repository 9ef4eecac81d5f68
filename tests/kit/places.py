"""Where things lie."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests/data/engines"
"""Inspector JSON, profiles and timings that were recorded on a GPU."""
