"""Claims of the package `symmetry`."""
