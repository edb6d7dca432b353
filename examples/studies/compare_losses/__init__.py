"""Every loss for multi-label targets on several data sets."""
