"""The k-th largest score, and the sum of the k largest, smoothed by Gaussian noise."""
