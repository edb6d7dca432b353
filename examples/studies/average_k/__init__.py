"""K classes per example on average."""
