from .external import watch_weights as watch_weights
from .wire import LARGE_FILE as LARGE_FILE
from .wire import put_back as put_back
from .wire import put_in as put_in
from .wire import put_together as put_together
from .wire import read_apart as read_apart
