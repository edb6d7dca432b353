"""What takes long to compute is kept under build/, named by a digest of what it is made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from docs.site.catalog import ROOT

BUILD = ROOT / "build"


def path(name: str, *made_of: Path, build: Path = BUILD) -> Path:
    """Where the caller keeps it; another place once one of these files or the library changes."""
    parts = [*sorted(made_of), *sorted((ROOT / "mlc_losses").rglob("*.py"))]
    digest = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:16]
    return build / name / digest
