from .counter import Counter as Counter
from .machine import Gpu as Gpu
from .passing import Pass as Pass
