"""Which precision each node gets, and the only writer of it."""
