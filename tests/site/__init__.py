"""Docstrings and pages: what a reader is shown."""
