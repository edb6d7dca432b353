"""Time and memory against other libraries, as ratios in one run."""
