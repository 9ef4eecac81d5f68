from .engine import OnnxRuntime as OnnxRuntime
