"""The papers' claims, and what the records make of them."""
