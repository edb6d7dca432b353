"""From scores to label sets: the cut at 0, tuned thresholds, expected F, and a promised recall."""
