"""How the documentation is built: ``make docs``. Nothing here needs a network."""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

project = "workbench"
author = "the authors of workbench"
copyright = author  # noqa: A001 - Sphinx's name for it
release = metadata.version("trt-workbench")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "generated",
    "notebooks",
]
exclude_patterns = ["_build"]
default_role = "py:obj"
show_warning_types = True

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # make notebooks runs them
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["workbench.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"start": [], "concepts": [], "index": []}
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
copybutton_exclude = ".linenos, .gp"
