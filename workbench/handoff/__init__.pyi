from .deployment import Deployment as Deployment
from .deployment import Port as Port
from .deployment import open_deployment as open_deployment
from .report_page import page as page
from .tuning_report import before_after as before_after
from .tuning_report import macs_share as macs_share
from .tuning_report import report as report
from .tuning_report import text_table as text_table
