"""Everything the workbench does, done to ONNX's own backend cases and to real models; ONNX Runtime is the yardstick.

``python -m tests.conformance``; see `tests.conformance.__main__`.
"""
