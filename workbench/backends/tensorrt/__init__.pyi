from .backend import INSTALL as INSTALL
from .backend import TensorRT as TensorRT
from .backend import backend_of as backend_of
from .backend import capabilities as capabilities
from .interleaved import measure_files as measure_files
