"""A loss as a framework's own class; each framework is imported by its own path only."""
