"""What the study answers: ranks, verdicts against the baselines, and what the design can see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from examples.studies.common.judging import Answer, over_sets
from examples.studies.which_loss.figures import critical_differences, verdicts
from examples.studies.which_loss.statistics import least_difference, ranking, spread_of
from examples.studies.which_loss.tables import (
    AT_ZERO,
    EXPECTED_F,
    METRICS,
    QUESTIONS,
    gains,
    larger_is_better,
    markdown,
    values,
)

VERDICTS = ("better", "equivalent", "worse", "undecided")
Found = dict[str, dict[str, Answer]]  # question, loss


def sections(
    runs: pd.DataFrame, names: list[str], found: Mapping[str, Found], into: Path
) -> list[str]:
    """The part of the page with the answers against each baseline, and its figures beside it."""
    parts = ["## The answer"]
    for baseline in found:
        means = {
            title: gains(values(runs, names, title), title, baseline).mean() for title in METRICS
        }
        figure = into.with_name(f"{into.stem}_against_{baseline}.png")
        verdicts(found[baseline], pd.DataFrame(means), baseline, figure)
        parts += [*_in_words(found[baseline], baseline), f"![Against {baseline}]({figure.name})"]
    parts += _ranks(runs, names, into)
    for baseline in found:
        table = pd.DataFrame(found[baseline]).map(_verdict, na_action="ignore")
        parts += [
            f"## Against `{baseline}`",
            "In brackets: the probability of better, equivalent and worse, in percent.",
            markdown(table[list(METRICS)]),
            "With the other rules. Losses that only rank do not decide at 0.",
            markdown(table[list(AT_ZERO | EXPECTED_F)].fillna("")),
        ]
    return [*parts, *_power(runs, names, next(iter(found)))]


def against(runs: pd.DataFrame, names: list[str], baseline: str) -> Found:
    """The answer to each question, for each main loss but the baseline."""
    found: Found = {}
    for title in QUESTIONS:
        table = larger_is_better(values(runs, names, title), title)
        found[title] = {
            loss: over_sets(table[loss].to_numpy(), table[baseline].to_numpy())
            for loss in table
            if loss != baseline
        }
    return found


def as_json(found: Mapping[str, Found]) -> dict[str, Any]:
    """The same as plain dictionaries, for records."""
    return {
        baseline: {
            title: {loss: case._asdict() for loss, case in of_losses.items()}
            for title, of_losses in questions.items()
        }
        for baseline, questions in found.items()
    }


def _in_words(found: Found, baseline: str) -> list[str]:
    """Counts, and every case that is better or worse."""
    main = {title: found[title] for title in METRICS}
    cases = {
        verdict: {
            (title, loss)
            for title, of_losses in main.items()
            for loss, case in of_losses.items()
            if case.verdict == verdict
        }
        for verdict in VERDICTS
    }
    number = sum(len(of_losses) for of_losses in main.values())
    counts = [f"{len(cases[verdict])} are {verdict}" for verdict in VERDICTS]
    parts = [
        f"**Against `{baseline}`**, of {number} comparisons of a loss in a metric "
        f"{', '.join(counts[:-1])} and {counts[-1]}."
    ]
    for verdict in ("better", "worse"):
        by_loss = [
            f"`{loss}` ({', '.join(title for title in main if (title, loss) in cases[verdict])})"
            for loss in next(iter(main.values()))
            if any(name == loss for _, name in cases[verdict])
        ]
        parts.append(f"{verdict.capitalize()}: {', '.join(by_loss) or 'none'}.")
    return parts


def _ranks(runs: pd.DataFrame, names: list[str], into: Path) -> list[str]:
    rankings = {
        title: ranking(larger_is_better(values(runs, names, title), title)) for title in METRICS
    }
    ranks = pd.DataFrame({title: found.ranks for title, found in rankings.items()})
    ranks = ranks.loc[ranks.mean(axis=1).sort_values().index].map("{:.1f}".format)
    ranks.loc["Friedman's p"] = [f"{found.p:.2g}" for found in rankings.values()]
    difference = rankings["micro-F1"].critical_difference
    figure = into.with_name(f"{into.stem}_ranks.png")
    critical_differences(rankings, figure)
    return [
        "## Ranks",
        "Mean rank over data sets, 1 is best.",
        markdown(ranks),
        f"Mean ranks closer than {difference:.1f} are not told apart (Nemenyi, 0.05).",
        f"![Critical differences]({figure.name})",
    ]


def _power(runs: pd.DataFrame, names: list[str], baseline: str) -> list[str]:
    rows = {}
    for title in METRICS:
        others = gains(values(runs, names, title), title, baseline)
        spread = float(np.median([spread_of(others[loss].to_numpy()) for loss in others]))
        rows[title] = {
            "spread over sets": spread,
            "smallest difference found": least_difference(spread, len(names)),
        }
    return [
        "## What this design can see",
        f"The median over losses of the spread of their difference to `{baseline}`, and the "
        'smallest mean difference that would be called "better" with probability 0.8.',
        markdown(pd.DataFrame(rows).T),
    ]


def _verdict(found: Answer) -> str:
    shares = " / ".join(f"{100 * share:.0f}" for share in found[1:])
    return f"{found.verdict} ({shares})"
