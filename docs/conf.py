"""Sphinx configuration. Warnings are errors (`make docs`), so a broken link or docstring does not pass unseen."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from docstrings import connect as setup  # noqa: F401

from polyad import __version__

project = "Polyad"
author = "The Polyad developers"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

highlight_language = "none"  # equations in docstrings; code in the pages names its language
autosummary_generate = True
autosummary_imported_members = False
autosummary_ignore_module_all = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_attr_annotations = False  # shape strings are no markup
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"Polyad {__version__}"
html_static_path = ["_static"]
html_css_files = ["house.css"]
