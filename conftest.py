"""The examples in the README and in docs/ are tests, too."""

from tests.kit.examples import PAGES

pytest_collect_file = PAGES.pytest()
