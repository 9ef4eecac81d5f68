from .engine import engine_for as engine_for
from .engine import load as load
from .server import listen as listen
from .server import run_server as run_server
from .server import say as say
from .server import url_of as url_of
from .service import Service as Service
from .settings import Settings as Settings
