from .targets import Target as Target
from .targets import parse_target as parse_target
