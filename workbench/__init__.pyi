from .backends import BuildOptions as BuildOptions
from .engine import compare_engines as compare_engines
from .engine import load_engine as load_engine
from .errors import WorkbenchError as WorkbenchError
from .graph import load_model as load_model
from .graph.edits import surgeon as surgeon
from .handoff import example as example
from .jobs import build_engine as build_engine
from .jobs import check as check
from .jobs import drift as drift
from .jobs import handoff_triton as handoff_triton
from .jobs import inspect as inspect
from .jobs import migrate as migrate
from .jobs import replay as replay
from .jobs import run_engine as run_engine
from .jobs import search as search
from .jobs import serve as serve
from .jobs import tune as tune
from .jobs import write_dossier as write_dossier
from .jobs.bench import bench as bench
from .precision.measuring import MeasureOptions as MeasureOptions
from .recipe import Recipe as Recipe
from .session import Workbench as Workbench
from .session import open_model as open_model
from .session import open_recipe as open_recipe

__version__: str
