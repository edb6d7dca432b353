"""From scores to label sets, and what is chosen on validation data for it."""
