"""Symmetry: the kernels on which equivariant networks stand, each a module of its own.

Functions on the sphere (`spherical_harmonics`, `sphere_grid`, `sphere_fourier`), representations (`irreps`, `wigner`,
`coupling`, `symmetric_coupling`, `tensor_basis`, `bridge`), and the maps of layers (`linear`, `activations`,
`tensor_product`, `gaunt`, `so2`, `contraction`). Conventions: the page of that name in the documentation.
"""
