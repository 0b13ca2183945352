"""From the tensor of the beams to that of the solid body: pairs to learn from, a model, and the error it states."""
