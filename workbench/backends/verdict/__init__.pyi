from .checking import check as check
from .checking import judge as judge
from .mending import mend as mend
from .verdict import Verdict as Verdict
