"""Linear algebra: block-sparse eliminations in batches, Krylov methods."""
