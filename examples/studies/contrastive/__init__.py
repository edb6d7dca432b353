"""Contrastive training, then a linear probe."""
