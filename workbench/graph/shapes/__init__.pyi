from .shapes import SMALL as SMALL
from .shapes import Inferred as Inferred
from .shapes import bind as bind
from .shapes import infer as infer
from .shapes import skeleton_proto as skeleton_proto
