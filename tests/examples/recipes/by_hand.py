"""Losses and gradients in plain NumPy, float64, which share nothing with the library."""

from __future__ import annotations

import numpy as np


def sigmoid(s: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-s))


def zlpr(s: np.ndarray, y: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """`log(1 + Σ (1 - y) e^s) + log(1 + Σ y e^-s)` over the known labels, `[n]`."""
    up, down = _sides(s, y, known)
    return np.log1p(up.sum(axis=-1)) + np.log1p(down.sum(axis=-1))


def zlpr_gradient(s: np.ndarray, y: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    up, down = _sides(s, y, known)
    return _shares(up) - _shares(down)


def zlpr_curvature(s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The diagonal of the Hessian."""
    up, down = _sides(s, y, None)
    return sum(_shares(side) * (1 - _shares(side)) for side in (up, down))


def cross_entropy(s: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -(y * np.log(sigmoid(s)) + (1 - y) * np.log(sigmoid(-s))).sum(axis=-1)


def mulsupcon(z: np.ndarray, y: np.ndarray, temperature: float) -> np.ndarray:
    """Anchor by anchor and label by label; `1 / |y_i|` inside an anchor."""
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    values = np.zeros(len(z))
    for i in range(len(z)):
        others = np.delete(np.arange(len(z)), i)
        s = z[others] @ z[i] / temperature
        shares = s - np.log(np.exp(s).sum())
        for label in np.flatnonzero(y[i]):
            positives = y[others, label] > 0
            if positives.any():
                values[i] -= shares[positives].mean() / y[i].sum()
    return values


def _sides(s: np.ndarray, y: np.ndarray, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    s = np.asarray(s, np.float64)
    known = np.ones(s.shape, bool) if known is None else known
    return np.where(known, (1 - y) * np.exp(s), 0), np.where(known, y * np.exp(-s), 0)


def _shares(side: np.ndarray) -> np.ndarray:
    return side / (1 + side.sum(axis=-1, keepdims=True))
