from .correction import bias_shifts as bias_shifts
from .equalize import equalization as equalization
