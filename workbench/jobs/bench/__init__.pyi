from .job import BenchResult as BenchResult
from .job import bench as bench
from .rows import table as table
from .run import Bench as Bench
from .variants import Variant as Variant
from .variants import open_source as open_source
