"""Trains and examines the demo's thinker."""
