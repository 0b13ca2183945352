"""Partial differential equations. Modules are imported by name; nothing is loaded before."""
