from .browse import Graph as Graph
from .difference import diff as diff
from .inspect import Summary as Summary
from .inspect import batch_of_one as batch_of_one
from .inspect import summary as summary
