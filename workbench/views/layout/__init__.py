"""A layered drawing of a directed graph: numbers in, numbers out, the same every time."""
