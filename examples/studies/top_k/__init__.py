"""Losses for K guesses at one label."""
