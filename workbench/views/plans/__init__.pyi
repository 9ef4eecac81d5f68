from .tuning import tuning_chart as tuning_chart
from .view import precision as precision
