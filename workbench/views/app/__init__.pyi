from .app import bundle as bundle
from .app import screen as screen
