"""The tables of the first release."""
