from .backend import INSTALL as INSTALL
from .backend import TensorRT as TensorRT
from .backend import backend_of as backend_of
from .backend import capabilities as capabilities
from .interleaved import Measured as Measured
from .interleaved import measure_files as measure_files
from .interleaved import median_error_ms as median_error_ms
