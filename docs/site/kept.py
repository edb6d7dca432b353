"""Folders under build/ for what takes long to compute, by a digest of what it is made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def folder(name: str, *made_of: Path) -> Path:
    """Another one once one of these files, or the library, has changed; the caller makes it."""
    parts = [*sorted(made_of), *sorted((ROOT / "mlc_losses").rglob("*.py"))]
    digest = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:16]
    return ROOT / "build" / name / digest
