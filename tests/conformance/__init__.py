"""Everything the workbench does, done to ONNX's own backend cases and to real models; ONNX Runtime is the yardstick.

``python -m conformance`` with ``tests`` on the path; see `conformance.__main__`.
"""
