"""Claims of the optim package."""
