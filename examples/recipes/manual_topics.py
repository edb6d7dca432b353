"""Short texts with several topics, for the recipes: paragraphs of Python's own manual."""

from __future__ import annotations

import re
from pydoc_data.topics import topics

import numpy as np


def load(least: int = 25, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Paragraphs in random order, and multi-hot float32 targets `[n, L]`.

    What `help("LOOPING")` shows is a topic; many paragraphs are part of several. Topics of fewer
    than `least` paragraphs are left out.
    """
    of_topic = {name: _paragraphs(text) for name, text in topics.items()}
    names = [name for name, texts in of_topic.items() if len(texts) >= least]
    texts = sorted(set().union(*(of_topic[name] for name in names)))
    texts = [texts[i] for i in np.random.default_rng(seed).permutation(len(texts))]
    targets = np.array([[text in of_topic[name] for name in names] for text in texts])
    return texts, targets.astype(np.float32)


def _paragraphs(text: str) -> set[str]:
    pieces = (" ".join(piece.split()) for piece in text.split("\n\n"))
    return {piece for piece in pieces if len(piece) > 80}


def words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())
