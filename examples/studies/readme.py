"""The table of results that README shows, made from the records of the first release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from examples.studies.common.pages import marks
from examples.studies.common.tables import Table, distinct, to_markdown
from examples.studies.first_release.study import PEER, SETTINGS

MARKS = marks("examples/studies/readme")
SHOWN = ("micro-F1", "macro-F1", "subset accuracy")


def results(records: Sequence[Mapping[str, Any]]) -> str:
    """The table of the first release: means over seeds of the test split, cut at 0."""

    def mean(data: str, loss: str, metric: str) -> str:
        found = [r["test"][metric] for r in records if (r["data"], r["loss"]) == (data, loss)]
        return f"{np.mean(found):.3f}"

    rows = []
    for data in distinct(records, "data"):
        for loss in SETTINGS:
            rows.append([data, f"`{loss}`", *(mean(data, loss, metric) for metric in SHOWN)])
        peer = [f"{PEER[data][metric]:.3f}" if metric in PEER[data] else "" for metric in SHOWN]
        rows.append([data, "logistic regression", *peer])
    return to_markdown(Table("", ["data", "method", *SHOWN], rows, text_columns=2))
