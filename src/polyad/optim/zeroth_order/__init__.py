"""Optimisers without gradients: they ask an oracle for values, or a loss for two forward passes.

Modules are imported by name: `two_point` (escapes saddles with two values a step), `frank_wolfe` (over convex sets,
without projections), `mezo` and `offload` (fine-tuning in the memory of inference, or less).
"""
