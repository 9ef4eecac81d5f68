from .mending import mend as mend
from .verdict import Verdict as Verdict
from .verdict import check as check
from .verdict import judge as judge
