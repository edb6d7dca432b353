"""Cases of the contrastive losses: embeddings take the place of logits, prototypes are an array."""

from __future__ import annotations

from functools import partial

import mlc_losses as ml
from tests.losses import oracles_contrastive as oracles
from tests.support.case import Case, embeddings, two_embeddings, with_prototypes

# at 0 every embedding is the zero vector, where a direction has no derivative
_Points = partial(
    Case,
    arrays=embeddings,
    right_infinity_is_deletion=False,
    derivative_at_infinity=False,
    across_batch=True,
    logits_name="embeddings",
    hard_sizes=(80.0, 1e4),
)
_Prototypes = partial(_Points, arrays=with_prototypes)

CASES: list[Case] = [
    _Points(ml.supcon, oracles.supcon),
    _Points(ml.supcon, oracles.supcon, keywords={"positives": "any", "temperature": 0.5}),
    _Points(ml.supcon, oracles.supcon, keywords={"positives": "all"}),
    _Points(ml.mulsupcon, oracles.mulsupcon, keywords={"temperature": 0.3}),
    _Prototypes(ml.prototype_contrastive, oracles.prototype_contrastive),
    _Prototypes(ml.msc, oracles.msc),
    _Prototypes(ml.msc, oracles.msc, keywords={"alpha": 0.5, "beta": 0.7, "temperature": 0.3}),
    _Prototypes(ml.mscrg, oracles.mscrg, keywords={"regularize": False, "alpha": 1.5}),
    _Prototypes(ml.mscrg, oracles.mscrg, keywords={"temperature": 0.3}, fixed_weights=True),
    _Prototypes(ml.mscrg, oracles.mscrg, keywords={"alpha": -1.0, "temperature": 0.3},
                fixed_weights=True),
    _Points(ml.lifted_structure, oracles.lifted_structure),
    _Points(ml.n_pair, oracles.n_pair, arrays=two_embeddings, keywords={"regularization": 0.1},
            takes_targets=False, logits_name="anchors"),
]  # fmt: skip
