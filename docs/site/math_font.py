"""The font of the formulas: the glyphs they use of STIX Two Math, which ziamath brings along.

Without it the size of brackets and sums depends on which fonts a reader has.
"""

from __future__ import annotations

import io
from functools import cache
from importlib.util import find_spec

from fontTools import subset

# letters and signs, then the italics that a browser puts in place of a letter in a formula
_RANGES = [(0x20, 0x7E), (0xA0, 0xFF), (0x391, 0x3C9), (0x2010, 0x2044), (0x2190, 0x21D5),
           (0x2200, 0x22FF), (0x2308, 0x230B), (0x27E8, 0x27E9), (0x1D434, 0x1D467),
           (0x1D6E2, 0x1D71B), (0x210E, 0x210E), (0x2113, 0x2113)]  # fmt: skip


@cache
def woff() -> bytes:
    options = subset.Options(flavor="woff", layout_features=["*"], name_IDs=["*"])
    (folder,) = find_spec("ziamath").submodule_search_locations  # without importing it
    font = subset.load_font(f"{folder}/fonts/STIXTwoMath-Regular.ttf", options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[code for low, high in _RANGES for code in range(low, high + 1)])
    subsetter.subset(font)
    out = io.BytesIO()
    subset.save_font(font, out, options)
    return out.getvalue()
