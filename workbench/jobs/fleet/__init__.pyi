from .job import fleet as fleet
