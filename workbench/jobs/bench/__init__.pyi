from .job import bench as bench
