"""Lets the tests of the graph import the small models beside them."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("graph", deadline=None)
settings.load_profile("graph")

sys.path.insert(0, str(Path(__file__).parent))
