"""The HTTP surface: one module per resource, each route thin."""
