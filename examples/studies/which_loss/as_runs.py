"""The records as the claims and the advice read those of every study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from examples.studies.claims.rule import Run
from examples.studies.which_loss.records import Records
from examples.studies.which_loss.study import FULL
from examples.studies.which_loss.tables import QUESTIONS, complete_sets


def kept(folder: Path) -> dict[str, Any] | None:
    """The runs of complete data sets, and the answers that its page gives; None without records."""
    records = Records(folder)
    if not records.names():
        return None
    return {"runs": as_runs(records), "answers": records.kept("answers")}


def as_runs(records: Records) -> list[Run]:
    """One for each complete data set, loss and fold, with a number for each question."""
    table = pd.DataFrame(records.table().to_dict(as_series=False))
    table = table[table["data"].isin(complete_sets(table, FULL.folds))]
    found: dict[tuple[str, str, int], dict[str, float]] = {}
    for title, question in QUESTIONS.items():
        of_rule = table[table["rule"].eq(question.rule)]
        numbers = of_rule.set_index(["data", "loss", "fold"])[question.metric]
        for key, number in numbers.items():
            found.setdefault(key, {})[title] = number
    return [Run(data, loss, fold, numbers) for (data, loss, fold), numbers in found.items()]
