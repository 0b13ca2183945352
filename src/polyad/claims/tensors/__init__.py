"""Claims of the tensors package."""
