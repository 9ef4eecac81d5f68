"""What the tensors of a model hold: samples, statistics, ranges, calibration caches."""
