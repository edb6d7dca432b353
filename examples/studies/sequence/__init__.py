"""Label sets decoded as sequences."""
