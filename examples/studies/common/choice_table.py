"""What validation chose where training stops by it: learning rates and rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from examples.studies.common.stopping import MOST_ROUNDS, WIDE_RATES
from examples.studies.common.tables import Records, Table


def choice_table(chosen: Sequence[tuple[str, str, Records]]) -> Table:
    """Of data, method and its records: how often each rate was chosen, and which rounds.

    The rates at the two ends are the edges of the search.
    """
    rows = []
    for data, method, records in chosen:
        counts = Counter(record["rate"] for record in records)
        rounds = sorted(record["round"] for record in records)
        capped = sum(record["rounds"] >= MOST_ROUNDS for record in records)
        cells = [*(str(counts[rate]) for rate in WIDE_RATES), f"{rounds[0]} to {rounds[-1]}"]
        rows.append([data, method, *cells, str(capped)])
    heads = [*map(str, WIDE_RATES), "best round", f"reached {MOST_ROUNDS}"]
    title = "How often each learning rate was chosen, the best rounds, and runs that met the limit"
    return Table(title, ["data", "method", *heads], rows, text_columns=2)
