"""Layers and networks.

Modules are imported by name (`from polyad.nn.coordinate import CoordinateMLP`); nothing is loaded before.
"""
