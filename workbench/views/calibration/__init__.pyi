from .api import distribution as distribution
from .api import distributions as distributions
from .api import drift as drift
from .api import quantized as quantized
from .api import tensor_table as tensor_table
from .api import weights as weights
from .histogram import distribution_chart as distribution_chart
from .threshold import ThresholdView as ThresholdView
