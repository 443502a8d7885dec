"""Benchmarks of the whole product; `python -m bench` runs them."""
