from .migration import migrate as migrate
from .migration import migrate_to as migrate_to
from .tuning import TuneResult as TuneResult
from .tuning import recalibrate as recalibrate
from .tuning import replay_to as replay_to
from .tuning import search_to as search_to
from .tuning import tune_to as tune_to
