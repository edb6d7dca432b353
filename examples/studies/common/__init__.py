"""What the studies share: data, training, tables, pages, and finished runs."""
