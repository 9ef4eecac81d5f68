from .blame import without_kernel as without_kernel
from .checking import check as check
from .checking import judge as judge
from .matrix import Cell as Cell
from .matrix import Matrix as Matrix
from .mending import mend as mend
from .verdict import Verdict as Verdict
