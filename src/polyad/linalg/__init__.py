"""Linear algebra: block-sparse eliminations in batches, Krylov methods, Gaussian smoothing on the line."""
