"""The page `docs/which_loss.md`, made from a template and the records of the studies.

In the template, `{{mean: study | method | metric | data set}}` stands for a number. These kinds are
known:

- `mean`, the mean over seeds, and `percent`, the same in percent;
- `gain: study | ours | rival | metric | data set`, the difference in points over seeds;
- `rank: study | method`, the mean rank, of one metric or data set where a third part names it;
- `times`, how many times as long, with the parts of `gain`;
- `count`, how many methods a study has, and `seeds`;
- `sets: study | metric`, how many data sets a study has, and `average: study | method | metric`,
  the mean over them;
- `answers: baseline | verdict`, how often the large study gives this verdict on a loss against the
  baseline in a main metric, and of how many; with a loss as a third part, of that loss alone;
- `verdict: claim`, a link to the verdict on a claim.

Others stand for nothing and check a sentence beside them. Where one fails, the sentence is no
longer true and must be written again:

- `holds: kind a < kind b`: numbers are in this order;
- `first: study | method`, perhaps of one metric or data set: the method has the best mean rank;
- `answer: baseline | loss | metric | verdict`: the large study says so;
- `none: baseline | verdict`: the large study gives this verdict on no loss in any main metric, or
  not on the loss in a third part;
- `everywhere: study | ours | rival | metric`: ours has the larger mean on each data set.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from examples.studies.advice import numbers
from examples.studies.advice.numbers import Records
from examples.studies.claims.page import slug
from examples.studies.claims.rule import Judged

TEMPLATE = Path(__file__).with_name("template.md")
MARK = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
WIDTH = 100
HEAD = """\
<!-- Made of examples/studies/advice/template.md and the records in docs/results/. Change the
template, then run: python -m examples.studies.run_all --finished -->
"""


def page(template: str, records: Records, judged: Sequence[Judged]) -> str:
    """The template with every mark replaced, and its paragraphs wrapped."""
    verdicts = {one.claim.name: one.verdict for one in judged}
    filled = MARK.sub(lambda found: _text(found[1], records, verdicts), template)
    blocks = re.split(r"\n\s*\n", filled.strip())
    return HEAD + "\n" + "\n\n".join(map(_wrapped, blocks)) + "\n"


def _text(mark: str, records: Records, verdicts: Mapping[str, str]) -> str:
    kind, _, rest = " ".join(mark.split()).partition(": ")
    if kind in CHECKS:
        if not CHECKS[kind](records, rest):
            raise ValueError(f"this is no longer true: {kind}: {rest}")
        return ""
    if kind == "verdict":
        if rest not in verdicts:
            raise ValueError(f"there is no claim {rest!r}")
        return f"[{verdicts[rest]}](results/index.md#{slug(rest)})"
    if kind not in SHOWN:
        raise ValueError(f"{mark!r} must begin with one of {', '.join([*SHOWN, *CHECKS])}")
    return SHOWN[kind](records, *_parts(rest))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split("|")]


def _holds(records: Records, text: str) -> bool:
    values = [_value(part, records) for part in text.split(" < ")]
    return len(values) > 1 and all(a < b for a, b in itertools.pairwise(values))


def _first(records: Records, text: str) -> bool:
    study, method, *only = _parts(text)
    ranks = numbers.all_ranks(records, study, *only)
    return min(ranks, key=ranks.__getitem__) == method


def _everywhere(records: Records, text: str) -> bool:
    study, ours, rival, metric = _parts(text)
    sets = numbers.data_sets(records, study, metric)
    return all(numbers.gains(records, study, ours, rival, metric, x).mean() > 0 for x in sets)


def _answer(records: Records, text: str) -> bool:
    baseline, loss, metric, verdict = _parts(text)
    return numbers.answers(records, baseline, loss, metric) == [verdict]


def _none(records: Records, text: str) -> bool:
    baseline, verdict, *loss = _parts(text)
    return verdict not in numbers.answers(records, baseline, *loss)


def _answers(records: Records, baseline: str, verdict: str, loss: str = "") -> str:
    found = numbers.answers(records, baseline, loss)
    return f"{found.count(verdict)} of {len(found)}"


def _value(text: str, records: Records) -> float:
    kind, _, rest = text.strip().partition(" ")
    return VALUES[kind](records, *_parts(rest))


def _gain(records: Records, *names: str) -> str:
    points = 100 * numbers.gains(records, *names)
    return f"{points.mean():+.1f} ± {points.std(ddof=1):.1f}"


def _seeds(records: Records, study: str) -> str:
    return str(len({run.seed for run in numbers.runs(records, study)}))


VALUES: dict[str, Callable[..., float]] = {
    "mean": numbers.mean,
    "gain": lambda *names: float(np.mean(numbers.gains(*names))),
    "rank": numbers.rank,
    "times": numbers.times,
    "average": numbers.over_sets,
}
SHOWN: dict[str, Callable[..., str]] = {
    "mean": lambda *names: f"{numbers.mean(*names):.3f}",
    "percent": lambda *names: f"{100 * numbers.mean(*names):.1f} %",
    "gain": _gain,
    "rank": lambda *names: f"{numbers.rank(*names):.1f}",
    "times": lambda *names: f"{numbers.times(*names):.0f}",
    "count": lambda *names: str(len(numbers.methods(*names))),
    "seeds": _seeds,
    "sets": lambda *names: str(len(numbers.data_sets(*names))),
    "average": lambda *names: f"{numbers.over_sets(*names):.3f}",
    "answers": _answers,
}


CHECKS: dict[str, Callable[[Records, str], bool]] = {
    "holds": _holds,
    "first": _first,
    "everywhere": _everywhere,
    "answer": _answer,
    "none": _none,
}


def _wrapped(block: str) -> str:
    """Prose and the items of lists fill their lines; tables and headings stay."""
    if block.startswith(("|", "#", "<!--")):
        return block.strip()
    items = re.split(r"\n(?=- )", block.strip())
    return "\n".join(
        textwrap.fill(
            " ".join(item.split()),
            WIDTH,
            subsequent_indent="  " if item.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for item in items
    )
