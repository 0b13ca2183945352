"""Graphs: periodic graphs and their components."""
