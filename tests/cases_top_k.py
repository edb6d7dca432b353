"""Cases of the losses for one label and K guesses."""

from __future__ import annotations

from case import Case

CASES: list[Case] = []
