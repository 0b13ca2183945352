"""Tensors: notation (Kelvin-Mandel, Voigt, Cartesian), rotations, and low-rank formats (`polyad.tensors.formats`)."""
