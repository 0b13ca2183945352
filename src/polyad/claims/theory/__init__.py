"""Claims of the theory package."""
