"""Label powerset beside zlpr."""
