from .api import compare as compare
from .api import engine as engine
from .api import engine_chart as engine_chart
from .api import engine_graph as engine_graph
from .api import fusion as fusion
from .card import report_card as report_card
