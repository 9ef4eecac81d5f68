from .job import FleetResult as FleetResult
from .job import fleet as fleet
