"""The optimization workbench for ONNX models on the way to NVIDIA TensorRT."""

from __future__ import annotations

__version__ = "0.1.0"
