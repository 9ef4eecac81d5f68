from .errors import WorkbenchError as WorkbenchError
from .graph.edits import surgeon as surgeon
from .recipe import Recipe as Recipe
from .session import Workbench as Workbench
from .session import open_model as open_model
from .session import open_recipe as open_recipe

__version__: str
