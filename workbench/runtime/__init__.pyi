from .as_written import SWITCHED_OFF as SWITCHED_OFF
from .bytes import output_names as output_names
from .numerics_check import self_check as self_check
from .session import Mode as Mode
from .session import Session as Session
from .session import disabled_optimizers as disabled_optimizers
from .session import first_line as first_line
from .session import in_one_array as in_one_array
