from .changes import Change as Change
from .plan import Plan as Plan
from .searching import Cost as Cost
from .workbench import PreprocessingLike as PreprocessingLike
from .workbench import Workbench as Workbench
from .workbench import open_model as open_model
from .workbench import open_recipe as open_recipe
