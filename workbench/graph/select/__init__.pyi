from .language import select as select
from .selectors import Selector as Selector
from .selectors import nodes as nodes
from .selectors import pick as pick
from .selectors import related as related
from .shortest import compact as compact
