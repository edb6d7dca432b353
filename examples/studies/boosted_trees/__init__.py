"""A loss as the objective of boosted trees."""
