from .cost import Cost as Cost
from .cost import costs as costs
from .cost import mac_shares as mac_shares
from .cost import parameters_of as parameters_of
from .cost import total as total
from .cost import weight_bytes_of as weight_bytes_of
from .memory import memory_use as memory_use
from .memory import suggested_workspace as suggested_workspace
