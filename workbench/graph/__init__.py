"""The model as a graph: load, name, select, inspect, edit."""
