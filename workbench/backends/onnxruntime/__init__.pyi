from .engine import OnnxRuntime as OnnxRuntime
from .engine import backend_for as backend_for
