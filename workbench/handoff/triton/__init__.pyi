from .batching import choose_batching as choose_batching
from .batching import read_curve as read_curve
from .config import ServedModel as ServedModel
from .config import state_pairs as state_pairs
from .repository import write_repository as write_repository
from .warm_up import WarmUp as WarmUp
from .warm_up import make_warm_ups as make_warm_ups
from .words import RELEASE as RELEASE
