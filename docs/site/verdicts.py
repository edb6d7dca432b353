"""The verdict on a claim, beside every link that leads to it."""

from __future__ import annotations

import re
from functools import cache

from docs.site.catalog import ROOT

PAGE = "results/index.md"
_CLAIM = re.compile(rf"\[[^\]]+\]\({re.escape(PAGE)}#([\w-]+)\)")
_ROW = re.compile(r"^\| \[[^\]]+\]\(#([\w-]+)\) \| (\*\*[\w ]+\*\*) \|", re.MULTILINE)


@cache
def _verdicts() -> dict[str, str]:
    """Of the table of all claims, by the anchor of the claim."""
    return dict(_ROW.findall((ROOT / "docs" / PAGE).read_text(encoding="utf-8")))


def beside_claims(markdown: str) -> str:
    def with_verdict(found: re.Match[str]) -> str:
        verdict = _verdicts().get(found[1])
        return f"{found[0]} ({verdict})" if verdict else found[0]

    return _CLAIM.sub(with_verdict, markdown)
