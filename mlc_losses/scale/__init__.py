"""Many labels, several devices: losses without `[N, L]` logits. Needs JAX."""
