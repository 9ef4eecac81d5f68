from .closing import remarks as remarks
from .report_page import page as page
from .tuning_report import before_after as before_after
from .tuning_report import report as report
from .tuning_report import text_table as text_table
