"""How a claim is judged: one rule for all of them, from records to a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from examples.report import LOWER_IS_BETTER
from examples.studies.common.statistics import LEVEL, holm, least_t, paired_p

SUPPORTED, MIXED, UNDECIDED, CONTRADICTED = "supported", "mixed", "undecided", "contradicted"
NOT_RUN, NOTED = "not run", "noted"
AHEAD, BEHIND, OPEN = "ahead", "behind", "open"
RULE = f"""\
Two methods are compared on one metric: a *test*. On each data set both ran with the same seeds,
so there is one difference for each seed, counted positive where it speaks for the claim. A
two-sided paired t-test gives p, corrected by Holm's method over the data sets of the test. A data
set is *ahead* if the mean difference is positive with p < {LEVEL}, *behind* if it is negative with
p < {LEVEL}, and *open* otherwise.

- A test is **supported** if the mean difference is positive on every data set and more than half
  of the data sets are ahead. It is **contradicted** if none is ahead and at least one is behind,
  **undecided** if all are open, and **mixed** otherwise.
- Costs have no seeds. They are measured against a bar: **supported** if the bar is met everywhere,
  **contradicted** if it is met nowhere, and **mixed** otherwise.
- A claim has the verdict of its tests if they all agree. It is **contradicted** if some of its
  tests are contradicted and the others undecided, and **mixed** otherwise. Tests without records
  are left out, and named.

There is no correction over the tests of a claim: read a single p among many with care."""


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
    """What a test found on one data set; without seeds `spread`, `p` and `interval` are NaN."""

    data: str
    mean: float
    spread: float  # standard deviation over seeds
    seeds: int
    p: float  # after Holm's correction
    interval: float  # half the width of the 95 % confidence interval of the mean
    outcome: str


class Part(NamedTuple):
    """One test, judged. `missing` are the data sets that lack records."""

    test: Pairs | Bars
    verdict: str
    cells: Sequence[Cell]
    missing: Sequence[str]


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


def outcome(mean: float, p: float) -> str:
    if p >= LEVEL or mean == 0:
        return OPEN
    return AHEAD if mean > 0 else BEHIND


def judge_pairs(test: Pairs, runs: Sequence[Run]) -> Part:
    found = differences(runs, test)
    cells = []
    for (data, values), p in zip(
        found.items(), holm([paired_p(v) for v in found.values()]), strict=True
    ):
        mean, spread = float(values.mean()), float(values.std(ddof=1))
        half = least_t(len(values)) * spread / math.sqrt(len(values))
        cells.append(Cell(data, mean, spread, len(values), p, half, outcome(mean, p)))
    ahead, behind = (sum(cell.outcome == x for cell in cells) for x in (AHEAD, BEHIND))
    if 2 * ahead > len(cells) and all(cell.mean > 0 for cell in cells):
        verdict = SUPPORTED
    elif ahead:
        verdict = MIXED
    else:
        verdict = CONTRADICTED if behind else UNDECIDED
    missing = [data for data in test.data if data not in found]
    return Part(test, verdict if cells else NOT_RUN, cells, missing)


def judge_bars(test: Bars, records: Any) -> Part:
    cells = []
    for at, value in test.measured(records).items():
        met = test.limit is None or (value <= test.limit if test.at_most else value >= test.limit)
        state = AHEAD if met else BEHIND
        cells.append(Cell(at, value, math.nan, 1, math.nan, math.nan, state))
    met = sum(cell.outcome == AHEAD for cell in cells)
    verdict = SUPPORTED if met == len(cells) else MIXED if met else CONTRADICTED
    if test.limit is None:
        verdict = NOTED
    return Part(test, verdict if cells else NOT_RUN, cells, ())


def combined(verdicts: Iterable[str]) -> str:
    judged = {verdict for verdict in verdicts if verdict not in (NOT_RUN, NOTED)}
    if not judged:
        return NOT_RUN
    if judged == {CONTRADICTED, UNDECIDED}:
        return CONTRADICTED
    return judged.pop() if len(judged) == 1 else MIXED


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
