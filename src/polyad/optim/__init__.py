"""Optimisers: by gradient (`torch.optim.Optimizer`), by oracle, and by ask and tell; with what they know of curvature.

Modules are imported by name (`from polyad.optim.norms import SteepestDescent`); nothing is loaded before.
"""
