"""Draws and sounds what `demo.conversations` describes."""
