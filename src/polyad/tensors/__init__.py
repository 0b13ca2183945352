"""Tensors: notation (Kelvin-Mandel, Voigt, Cartesian)."""
