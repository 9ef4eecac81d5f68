from .evidence import Evidence as Evidence
from .gate import Gate as Gate
from .gate import GateResult as GateResult
from .gate import check_gates as check_gates
from .metrics import METRICS as METRICS
