"""The losses: their oracles, the one list of cases, and what is held to each family."""
