"""The tests of workbench."""
