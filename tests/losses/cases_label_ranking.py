"""Cases of the losses across the batch with one value per label.

They are called with their labels as rows and their examples as columns, `[L, B]`: so a column is an
example, which may be left out, moved or masked like a label elsewhere, and a row has a result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from array_api_compat import array_namespace

import mlc_losses as ml
from tests.losses import oracles_label_ranking as oracles
from tests.support.case import Case


def turned(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The loss of `[B, L]` as one of `[L, B]`; arrays that do not fit are handed to it as given."""

    @wraps(loss)
    def of_rows(logits: Any, targets: Any, *, where: Any = None, **keywords: Any) -> Any:
        arrays = [logits, targets] if where is None else [logits, targets, where]
        if where is not None and tuple(where.shape) == (*logits.shape[:1], 1):
            arrays[2] = array_namespace(where).broadcast_to(where, logits.shape)
        shapes = [tuple(getattr(x, "shape", ())) for x in arrays]
        if any(shape != shapes[0] or len(shape) != 2 for shape in shapes):
            return loss(logits, targets, where=where, **keywords)
        logits, targets, *mask = (x.T for x in arrays)
        return loss(logits, targets, where=mask[0] if mask else None, **keywords)

    return of_rows


SMOOTH, MARGIN = turned(ml.smooth_average_precision), turned(ml.auc_margin)


def batch_case(loss: Any, oracle: Any, **keywords: Any) -> Case:
    return Case(loss, oracle, keywords=keywords, right_infinity_is_deletion=False,
                across_batch=True)  # fmt: skip


CASES: list[Case] = [
    batch_case(SMOOTH, oracles.smooth_average_precision, temperature=1.0),
    batch_case(SMOOTH, oracles.smooth_average_precision, temperature=0.3),
    batch_case(MARGIN, oracles.auc_margin),
    batch_case(MARGIN, oracles.auc_margin, margin=0.4),
]
