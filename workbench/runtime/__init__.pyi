from .session import Session as Session
from .session import disabled_optimizers as disabled_optimizers
from .session import first_line as first_line
