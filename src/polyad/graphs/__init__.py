"""Graphs: neighbour lists, periodic graphs and their components."""
