"""Engines of one model in several precisions, built, timed and recorded side by side."""
