"""Polyad: physics with tensors.

Importing this package loads nothing heavy; the packages below load torch when they are used:

    from polyad.materials import lattice, elasticity
    from polyad.tensors import notation
"""

__version__ = "0.1.0"
