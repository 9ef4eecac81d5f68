"""What compiles, runs, times and inspects a model."""
