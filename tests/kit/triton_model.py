"""What runs a model in Triton's Python backend where Triton's own backend for ONNX Runtime is not to be had.

It is copied into a folder of backends under that one's name, so a configuration for it is loaded as it is. Triton hands
it the requests of a batch, which run as one, as that backend would run them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """The interface that Triton's Python backend asks for."""

    def initialize(self, args):
        """Open the version's file."""
        self.config = json.loads(args["model_config"])
        path = Path(args["model_repository"], args["model_version"], self.config["default_model_filename"])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        """Run the requests of a batch as one."""
        triton.Logger.log_info(f"RUN {self.config['name']} {len(requests)}")
        names = [output["name"] for output in self.config["output"]]
        entries = [
            {
                value.name: triton.get_input_tensor_by_name(request, value.name).as_numpy()
                for value in self.session.get_inputs()
            }
            for request in requests
        ]
        if not self.config["max_batch_size"]:
            return [self._answer(names, self.session.run(names, feed)) for feed in entries]
        rows = [len(next(iter(feed.values()))) for feed in entries]
        whole = {name: np.concatenate([feed[name] for feed in entries]) for name in entries[0]}
        cuts = np.cumsum(rows)[:-1]
        parts = [np.split(array, cuts) for array in self.session.run(names, whole)]
        return [self._answer(names, arrays) for arrays in zip(*parts, strict=True)]

    def _answer(self, names, arrays):
        return triton.InferenceResponse(
            [triton.Tensor(name, np.asarray(array, order="C")) for name, array in zip(names, arrays, strict=True)]
        )
