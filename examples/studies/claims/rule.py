"""How a claim is judged: one rule for all of them, from records to a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from examples.report import LOWER_IS_BETTER
from examples.studies.common.judging import (
    BETTER,
    EQUIVALENT,
    FEWEST_SEEDS,
    FEWEST_SETS,
    HELD_OUT,
    ROPE,
    SURE,
    WORSE,
    Answer,
    half_width,
    least_spreads,
    over_seeds,
)
from examples.studies.common.judging import (
    judge as judge_differences,
)

SUPPORTED, SAME, UNDECIDED, CONTRADICTED = "supported", "equivalent", "undecided", "contradicted"
NOT_RUN, NOTED = "not run", "noted"
AHEAD, EQUAL, OPEN, BEHIND = "ahead", "equal", "open", "behind"
# a claim is as strong as its weakest test
STRENGTH = (CONTRADICTED, UNDECIDED, SAME, SUPPORTED)
VERDICTS = {BETTER: SUPPORTED, EQUIVALENT: SAME, WORSE: CONTRADICTED}
OUTCOMES = {BETTER: AHEAD, EQUIVALENT: EQUAL, WORSE: BEHIND}
NEEDED = ", ".join(f"{least_spreads(n):.1f} with {n}" for n in (3, 5, 10, 20))
POINT, HELD = f"{100 * ROPE:.0f}", f"{100 * HELD_OUT:.0f}"
RULE = f"""\
Every claim says that one method is better than another. Where it speaks of several rivals or
metrics, it has several such *tests*.

- **Pairs.** On each data set both methods ran with the same seeds, so there is one difference for
  each seed, counted positive where it speaks for the claim. Below {POINT} point of the metric it
  is no difference in practice: -{POINT} to +{POINT} is the *region of practical equivalence*.
- **One data set.** A Bayesian correlated t-test gives three probabilities: that the true mean
  difference is above the region, in it, or below it. With {SURE} or more the data set is *ahead*,
  *equal* or *behind*, otherwise *open*. A seed draws {HELD} % of the training rows for validation,
  and two seeds share most of the others. So the variance of the mean is that of the differences
  times (1/seeds + {HELD_OUT / (1 - HELD_OUT)}), which is Nadeau and Bengio's correction.
- **A test** asks what is true of more than half of its data sets. It is **supported** if ours is
  better there with a probability of {SURE} or more, **equivalent** if the difference is in the
  region there, **contradicted** if ours is worse there, and **undecided** if none of the three is
  that probable. From {FEWEST_SETS} data sets on, Bayesian signed ranks over the mean
  differences answer instead, for data sets in general.
- **A claim** has the verdict of its weakest test: contradicted comes before undecided, undecided
  before equivalent, equivalent before supported. Tests without records are left out, and named.
- **Costs** have no seeds and are measured against a bar: supported if more than half of the
  numbers meet it, contradicted if more than half miss it, undecided at exactly half.

**How many pairs it needs.** With fewer than {FEWEST_SEEDS} seeds it says nothing. To be sure of
one data set, the mean must lie beyond the region by so many standard deviations over seeds:
{NEEDED}. More than ten seeds gain little, as they share rows.
Of two data sets both must be clear, of three two, of five three.

There is no correction for the number of claims, so read a single test among many with care. Test
rows are not drawn again: a verdict is about these splits."""


class Run(NamedTuple):
    """One training of one method, and what was measured of it."""

    data: str
    method: str
    seed: int
    numbers: Mapping[str, float]


class Pairs(NamedTuple):
    """The claim says that `ours` is better than `rival` in `metric` on these data sets."""

    ours: str
    rival: str
    metric: str
    data: tuple[str, ...]
    lower: bool = False  # the smaller number is the better one

    @property
    def label(self) -> str:
        return f"{self.ours} over {self.rival}: {self.metric}"


def pairs(
    ours: Iterable[str] | str,
    rivals: Iterable[str] | str,
    metrics: Iterable[str] | str,
    data: tuple[str, ...],
) -> tuple[Pairs, ...]:
    """Each of ours against each rival in each metric."""
    all_ours, all_rivals, all_metrics = (
        (x,) if isinstance(x, str) else x for x in (ours, rivals, metrics)
    )
    return tuple(
        Pairs(a, b, m, data, m.removesuffix(" at 0") in LOWER_IS_BETTER)
        for m in all_metrics
        for a in all_ours
        for b in all_rivals
    )


class Bars(NamedTuple):
    """The claim says that each of these measured numbers is at least, or at most, some limit.

    Without a limit they are noted and judge nothing.
    """

    label: str
    measured: Callable[[Any], Mapping[str, float]]
    limit: float | None = None
    at_most: bool = False
    unit: str = ""


class Claim(NamedTuple):
    """A claim in our words, where it comes from, and the tests of one comparison that judge it."""

    name: str
    words: str
    source: str  # Markdown
    comparison: str
    tests: tuple[Pairs | Bars, ...]


class Cell(NamedTuple):
    """What a test found on one data set; a measured cost has neither seeds nor an answer."""

    data: str
    mean: float
    outcome: str
    spread: float = math.nan  # standard deviation over seeds
    seeds: int = 1
    interval: float = math.nan  # half the width of the 90 % credible interval of the mean
    answer: Answer | None = None


class Part(NamedTuple):
    """One test, judged. `missing` are the data sets that lack records."""

    test: Pairs | Bars
    verdict: str
    cells: Sequence[Cell]
    missing: Sequence[str]
    answer: Answer | None = None


class Judged(NamedTuple):
    claim: Claim
    verdict: str
    parts: Sequence[Part]


def differences(runs: Iterable[Run], test: Pairs) -> dict[str, np.ndarray]:
    """For each data set of the test with two seeds or more: one difference per common seed."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for run in runs:
        value = run.numbers.get(test.metric, math.nan)
        if math.isfinite(value):
            found.setdefault((run.data, run.method), {})[run.seed] = value
    sign = -1 if test.lower else 1
    result = {}
    for data in test.data:
        ours, rival = (found.get((data, method), {}) for method in (test.ours, test.rival))
        seeds = sorted(ours.keys() & rival.keys())
        if len(seeds) > 1:
            result[data] = sign * np.array([ours[s] - rival[s] for s in seeds])
    return result


def judge_pairs(test: Pairs, runs: Sequence[Run]) -> Part:
    found = differences(runs, test)
    missing = [data for data in test.data if data not in found]
    if not found:
        return Part(test, NOT_RUN, (), missing)
    cells = []
    for data, values in found.items():
        answer = over_seeds(values)
        outcome = OUTCOMES.get(answer.verdict, OPEN)
        mean, spread = float(values.mean()), float(values.std(ddof=1))
        cells.append(Cell(data, mean, outcome, spread, len(values), half_width(values), answer))
    answer = judge_differences(found)
    return Part(test, VERDICTS.get(answer.verdict, UNDECIDED), cells, missing, answer)


def judge_bars(test: Bars, records: Any) -> Part:
    cells = []
    for at, value in test.measured(records).items():
        met = test.limit is None or (value <= test.limit if test.at_most else value >= test.limit)
        cells.append(Cell(at, value, AHEAD if met else BEHIND))
    met = sum(cell.outcome == AHEAD for cell in cells)
    most = SUPPORTED if 2 * met > len(cells) else CONTRADICTED
    verdict = UNDECIDED if 2 * met == len(cells) else most
    if test.limit is None:
        verdict = NOTED
    return Part(test, verdict if cells else NOT_RUN, cells, ())


def combined(verdicts: Iterable[str]) -> str:
    judged = [verdict for verdict in verdicts if verdict not in (NOT_RUN, NOTED)]
    return min(judged, key=STRENGTH.index) if judged else NOT_RUN


def judge(claim: Claim, records: Any, runs: Sequence[Run]) -> Judged:
    """`records` of the claim's comparison, None where there are none, and the runs in them."""
    if records is None:
        parts = [Part(test, NOT_RUN, (), getattr(test, "data", ())) for test in claim.tests]
        return Judged(claim, NOT_RUN, parts)
    parts = [
        judge_pairs(test, runs) if isinstance(test, Pairs) else judge_bars(test, records)
        for test in claim.tests
    ]
    return Judged(claim, combined(part.verdict for part in parts), parts)
