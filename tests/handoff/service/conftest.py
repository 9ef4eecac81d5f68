"""What the tests of the service share: one that serves a small model, a client of it, and single runs to compare."""

from __future__ import annotations

import onnxruntime
import pytest

from tests.kit.serving import loaded, running

httpclient = pytest.importorskip("tritonclient.http", reason="tritonclient comes with the extra [dev]")


@pytest.fixture(scope="session")
def served(tuned_cnn):
    """A service of `tuned_cnn` on a free port."""
    with running([loaded(tuned_cnn)]) as service:
        yield service


@pytest.fixture
def client(served):
    """Triton's own client of it."""
    with httpclient.InferenceServerClient(served.address, concurrency=8) as outcome:
        yield outcome


@pytest.fixture(scope="session")
def single(tuned_cnn):
    """Run the same model alone: an array of rows to the output."""
    session = onnxruntime.InferenceSession(str(tuned_cnn / "tuned.onnx"), providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]
