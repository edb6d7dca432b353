"""Programs to copy; what the results are made by is in `studies/`."""
