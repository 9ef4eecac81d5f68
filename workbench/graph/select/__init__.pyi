from .language import Selector as Selector
from .language import nodes as nodes
from .language import pick as pick
from .language import related as related
from .language import select as select
from .shortest import compact as compact
