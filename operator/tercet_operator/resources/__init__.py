"""Pure builders, one module per kind of object."""
