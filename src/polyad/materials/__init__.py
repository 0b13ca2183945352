"""Materials: elasticity tensors and strut lattices."""
