"""Settings of the property tests of the graph."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("graph", deadline=None)
settings.load_profile("graph")
