"""What a CI system reads: test results as JUnit XML, summaries in GitHub's Markdown, findings as SARIF."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
