from .cycles import against_the_flow as against_the_flow
from .drawing import Layout as Layout
from .drawing import layered as layered
from .layers import assign_layers as assign_layers
from .route import Point as Point
