"""Tests of the library and of the pages about it; `support/` at the bottom, all else above it."""
