"""How the trainings and searches went: whether they were long enough, and wide enough."""

from __future__ import annotations

import math

import pandas as pd

from examples.studies.which_loss import losses
from examples.studies.which_loss.records import Records
from examples.studies.which_loss.search import chosen
from examples.studies.which_loss.tables import markdown
from examples.studies.which_loss.training import MOST_ROUNDS

# a value in the outer twentieth of its range, on a logarithmic scale where it was searched on one
EDGE = 0.05


def sections(runs: pd.DataFrame, records: Records, names: list[str]) -> list[str]:
    return [*_rounds(runs, names), *_edges(records, names)]


def place(name: str, key: str, value: float) -> float:
    """Where a value lies in the range that was searched, from 0 to 1."""
    low, high, _, log = losses.space(name)[key]
    if log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _rounds(runs: pd.DataFrame, names: list[str]) -> list[str]:
    of_main = runs[runs["data"].isin(names) & runs["loss"].isin(losses.MAIN)]
    once = of_main.drop_duplicates(["data", "loss", "fold"])
    capped = once["rounds"] >= MOST_ROUNDS
    table = pd.DataFrame(
        {
            "trainings": once.groupby("loss").size().map(str),
            "best round, median": once.groupby("loss")["best_round"].median().map("{:.0f}".format),
            "stopped by the cap": capped.groupby(once["loss"]).mean().map("{:.1%}".format),
        }
    )
    return [
        "## How long training took",
        f"Of {len(once)} trainings {capped.sum()} were stopped by the cap of {MOST_ROUNDS} rounds, "
        "the others because 10 rounds had brought nothing better on the validation rows.",
        markdown(table.loc[list(losses.MAIN)]),
    ]


def _edges(records: Records, names: list[str]) -> list[str]:
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for data in names:
        trials = records.trials(data)
        for name in losses.MAIN:
            best = chosen([trial for trial in trials if trial["loss"] == name])
            for key, value in best["setting"].items():
                found = place(name, key, value)
                count = counts.setdefault((name, key), {"low": 0, "high": 0})
                count["low"] += found < EDGE
                count["high"] += found > 1 - EDGE
    several = {key: count for key, count in counts.items() if max(count.values()) >= 3}
    title = "## Settings at the edge of their range"
    said = (
        f"The chosen value lies in the outer {EDGE:.0%} of its range on three or more of "
        f"{len(names)} data sets"
    )
    if not several:
        return [title, f"{said}: for no setting."]
    rows = {
        f"{name}: {key.removeprefix('loss.')}": {end: str(n) for end, n in count.items()}
        for (name, key), count in several.items()
    }
    return [title, f"{said} for these settings.", markdown(pd.DataFrame(rows).T)]
