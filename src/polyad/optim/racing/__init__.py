"""Optimisers beside each other on one training: same clock, same seeds, learning rates tuned with the same budget."""
