from .compiling import compile_in_child as compile_in_child
from .nvinfer import Compilation as Compilation
from .nvinfer import NetworkLayer as NetworkLayer
from .nvinfer import make_logger as make_logger
from .rtx import TARGETS as TARGETS
from .rtx import compile_for as compile_for
from .rtx import rtx_capabilities as rtx_capabilities
from .workspace import with_workspace as with_workspace
