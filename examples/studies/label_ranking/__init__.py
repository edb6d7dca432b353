"""Losses for the ranking of the examples of each label."""
