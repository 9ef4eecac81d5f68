"""The optimization workbench for ONNX models on the way to NVIDIA TensorRT.

>>> import workbench
>>> wb = workbench.open_model("model.onnx")  # doctest: +SKIP
>>> wb.prepare(); wb.calibrate("samples.npz"); wb.tune()  # doctest: +SKIP
>>> wb.compare("samples.npz", labels="labels.npy")  # doctest: +SKIP
>>> wb.recipe.save("recipe.yaml")  # doctest: +SKIP
"""

import lazy_loader

from workbench.later import put_off
from workbench.telemetry import switch_off

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"

put_off()
switch_off()
