from .job import FleetResult as FleetResult
