"""The comparisons behind docs/results, a folder each; `run_all` runs or renders all of them."""
