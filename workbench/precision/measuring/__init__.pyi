from .cluster import NO_WORKER_S as NO_WORKER_S
from .cluster import WorkerWatch as WorkerWatch
from .cluster import executor_of as executor_of
from .cluster import scheduler_client as scheduler_client
from .options import MeasureOptions as MeasureOptions
from .result import MeasuredResult as MeasuredResult
from .search import measured_search as measured_search
from .tuned import measure_tuned as measure_tuned
