from .network_chart import tuning as tuning
from .network_chart import tuning_chart as tuning_chart
from .view import precision as precision
