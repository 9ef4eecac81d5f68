from .html import Drawn as Drawn
from .marks import MARGIN as MARGIN
from .marks import Drawing as Drawing
from .marks import Group as Group
from .marks import draw as draw
from .marks import legend as legend
from .marks import moved as moved
from .svg_writer import svg as svg
