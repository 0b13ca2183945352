"""Symmetry: harmonics, rotations of them, couplings, and the equivariant maps that networks are made of."""
