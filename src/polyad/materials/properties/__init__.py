"""Networks that predict properties of whole structures, and the physics that reads them."""
