from .measured_charts import front as front
from .measured_charts import sensitivity as sensitivity
from .network_chart import tuning as tuning
from .network_chart import tuning_chart as tuning_chart
from .service_chart import BatchChart as BatchChart
from .service_chart import LatencyChart as LatencyChart
from .view import precision as precision
