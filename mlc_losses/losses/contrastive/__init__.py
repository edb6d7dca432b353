"""Contrastive losses on embeddings: supervised, by prototypes, with a queue of keys, by metric."""
