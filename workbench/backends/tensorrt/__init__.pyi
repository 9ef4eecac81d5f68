from .backend import TensorRT as TensorRT
from .backend import backend_for as backend_for
from .interleaved import measure_files as measure_files
