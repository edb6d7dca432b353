"""Cases of the losses for one label and K guesses on average, or few labels seen."""

from __future__ import annotations

from case import Case

CASES: list[Case] = []
