"""The lattice explorer: see, compare and design lattices in the browser (`polyad lattice serve`).

A server on FastAPI (the extra `web`) hands every computation to worker processes with limits of time and memory, so
that neither a hostile file nor a crash of a solver touches another request. The page is plain ES modules, served with
plotly.js from the installed packages: nothing is loaded from outside.
"""

from polyad.web.app import create_app
from polyad.web.settings import Settings

__all__ = ["Settings", "create_app"]
