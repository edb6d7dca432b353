"""Ground floor: the only door to array-api-compat, and the primitives the standard lacks."""
