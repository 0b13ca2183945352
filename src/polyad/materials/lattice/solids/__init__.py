"""Lattices as bodies: finite blocks, watertight solids, files for printers, and what a printer can make."""
