"""The document: what was done, replayable."""
