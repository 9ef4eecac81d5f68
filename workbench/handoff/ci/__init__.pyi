from .cases import Case as Case
from .cases import gate_cases as gate_cases
from .markdown import cases_table as cases_table
from .static_analysis import sarif as sarif
from .xml import junit as junit
