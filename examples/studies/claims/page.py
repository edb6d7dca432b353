"""The page of verdicts, as Markdown: the claims' words, and what the records make of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

from examples.studies.claims.rule import (
    AHEAD,
    BEHIND,
    CONTRADICTED,
    EQUAL,
    NOT_RUN,
    OPEN,
    RULE,
    SAME,
    SUPPORTED,
    UNDECIDED,
    Bars,
    Cell,
    Judged,
    Pairs,
    Part,
)
from examples.studies.common.judging import FEWEST_SEEDS, least_spreads, percents
from examples.studies.common.tables import Table, titled, to_markdown

ORDER = (SUPPORTED, SAME, UNDECIDED, CONTRADICTED, NOT_RUN)
INTRO = """\
# The papers' claims, tested again

What the papers of these losses claim, in our words, and what this library's comparisons found:
small networks on small public data, every method with the same search on validation data. Written
by `python -m examples.studies.run_all` from the records beside this page: claims and conditions
are texts of ours, every number and verdict is computed."""
OTHERS = """\
Three studies test no paper's claim: [ways from scores to label sets](decisions.md); [losses for mAP
and AUROC](label_ranking.md); and [phenotypes](phenotypes.md), real labels with ancestors."""
READING = """\
A difference is in points, hundredths of the metric: mean ± standard deviation over seeds, positive
where it speaks for the claim. In brackets: the probability of better, equivalent and worse, in
percent. Counted are the data sets of all tests of a claim; shown is the clearest of those ahead,
and of those behind. [The rule](#the-rule) says when a claim is supported."""
FIGURE = """\
![Differences that the claims are judged by, with their intervals](claims.png)

A dot is the mean difference of one test on one data set: blue is ahead, green equal, orange behind,
grey open. The grey band is the region of practical equivalence. Below and above a line the true
mean lies with a probability of 0.05 each, so a line that keeps clear of the band is sure; lines are
cut where they leave the picture. The axis is linear up to two points and logarithmic from there."""


def page(judged: Sequence[Judged], links: Mapping[str, str], conditions: Mapping[str, str]) -> str:
    """`links` are pages relative to this one, `conditions` sentences, both by comparison."""
    verdicts = Counter(one.verdict for one in judged)
    counts = ", ".join(f"{verdicts[name]} {name}" for name in ORDER if verdicts[name])
    parts = [
        INTRO,
        f"Of {len(judged)} claims: {counts}.",
        OTHERS,
        summary(judged, links),
        READING,
        FIGURE,
        f"## The rule\n\n{RULE}",
        "## The claims, one by one",
        *(section(one, links, conditions) for one in judged),
    ]
    return "\n\n".join(parts) + "\n"


def summary(judged: Sequence[Judged], links: Mapping[str, str]) -> str:
    rows = [
        [
            f"[{one.claim.name}](#{slug(one.claim.name)})",
            f"**{one.verdict}**",
            decisive(one),
            one.claim.source,
            linked(one.claim.comparison, links),
        ]
        for one in judged
    ]
    heads = ["claim", "verdict", "found", "from", "evidence"]
    return titled(Table("Verdicts", heads, rows, text_columns=len(heads)), 2)


def linked(comparison: str, links: Mapping[str, str]) -> str:
    return f"[{comparison}]({links[comparison]})" if comparison in links else comparison


def slug(heading: str) -> str:
    """The anchor that Markdown renderers make of a heading without marks."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-")


def section(one: Judged, links: Mapping[str, str], conditions: Mapping[str, str]) -> str:
    claim = one.claim
    about = [
        claim.words,
        f"**Verdict: {one.verdict}.** {' '.join(remarks(one))}",
        f"Conditions: {conditions[claim.comparison]}",
    ]
    wrapped = [fill(x, 100, break_long_words=False, break_on_hyphens=False) for x in about]
    sources = f"From: {claim.source}. Evidence: {linked(claim.comparison, links)}."
    tables = map(part_table, groups(one.parts))
    return "\n\n".join([f"### {claim.name}", *wrapped, sources, *tables])


def remarks(one: Judged) -> Iterable[str]:
    """What a reader must know beside the verdict."""
    tested = [part for part in one.parts if isinstance(part.test, Pairs) and part.cells]
    weakest = [part for part in tested if part.verdict == one.verdict]
    if weakest and len(tested) > 1 and one.verdict != SUPPORTED:
        yield f"{len(weakest)} of {len(tested)} tests are {one.verdict}."
    if one.verdict == UNDECIDED and any(map(disagree, tested)):
        yield "Data sets disagree: some are ahead, others behind."
    for seeds in sorted({cell.seeds for part in tested for cell in part.cells}):
        if seeds < FEWEST_SEEDS:
            yield f"{seeds} seeds say nothing."
        else:
            yield (
                f"{seeds} seeds: a mean must lie beyond the region by {least_spreads(seeds):.1f} "
                "standard deviations."
            )
    if missing := dict.fromkeys(name for part in one.parts for name in part.missing):
        yield f"Not run, or not with two seeds: {', '.join(map(short, missing))}."
    if one.verdict == NOT_RUN and not missing:
        yield "There are no records yet."


def disagree(part: Part) -> bool:
    return {AHEAD, BEHIND} <= {cell.outcome for cell in part.cells}


def verdict_table(judged: Sequence[Judged], claims_page: str) -> str:
    """For the page of one comparison: its claims, with links to the page of verdicts."""
    rows = [
        [f"[{one.claim.name}]({claims_page}#{slug(one.claim.name)})", one.verdict, decisive(one)]
        for one in judged
    ]
    return to_markdown(Table("", ["claim", "verdict", "found"], rows, text_columns=3))


def short(data: str) -> str:
    return re.sub("_lang_char3hash4096|_small28|21578_modapte90", "", data)


def clearest(parts: Iterable[Part]) -> list[tuple[Part, Cell]]:
    """All cells of these tests, those farthest from no difference first, by their intervals."""
    pairs = [(part, cell) for part in parts for cell in part.cells]
    return sorted(pairs, key=lambda pair: pair[1].interval - abs(pair[1].mean))


def decisive(one: Judged) -> str:
    """The numbers of the summary: counts, and the clearest cell on either side."""
    tested = clearest(part for part in one.parts if isinstance(part.test, Pairs))
    lines = [bar_line(part) for part in one.parts if isinstance(part.test, Bars) and part.cells]
    if tested:
        counts = [
            f"{sum(cell.outcome == state for _, cell in tested)} {state}"
            for state in (AHEAD, EQUAL, OPEN, BEHIND)
        ]
        lines.append(", ".join(counts))
        there = {cell.outcome for _, cell in tested}
        shown = [state for state in (AHEAD, BEHIND) if state in there] or sorted(there)
        for state in shown:
            part, cell = next(pair for pair in tested if pair[1].outcome == state)
            lines.append(f"{difference(cell)} {label(part)} on {short(cell.data)}")
    return "<br>".join(lines) or "no records"


def bar_line(part: Part) -> str:
    values = [cell.mean for cell in part.cells]
    low, high = (number(value, part) for value in (min(values), max(values)))
    shown = low if low == high else f"{low} to {high}"
    if part.test.limit is None:
        return ", ".join(f"{cell.data} {number(cell.mean, part)}" for cell in part.cells)
    met = sum(cell.outcome == AHEAD for cell in part.cells)
    return f"{part.test.label}: {shown}, bar met at {met} of {len(values)}"


def number(value: float, part: Part) -> str:
    return f"{value:.3g}{part.test.unit}"


def label(part: Part) -> str:
    test = part.test
    if isinstance(test, Bars):
        bar = "" if test.limit is None else f" ({'≤' if test.at_most else '≥'} {test.limit:g})"
        return f"{test.label}{bar}"
    return f"`{test.ours}` over `{test.rival}`, {test.metric}"


def difference(cell: Cell) -> str:
    text = f"{100 * cell.mean:+z.1f} ± {100 * cell.spread:.1f}"
    if cell.outcome != OPEN:
        text = f"**{text}**"
    return f"{text} ({percents(cell.answer)})" if cell.seeds >= FEWEST_SEEDS else text


def groups(parts: Iterable[Part]) -> list[list[Part]]:
    """What fits into one table: tests over seeds, and measured numbers of the same names."""
    result: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        if part.cells:
            names = tuple(cell.data for cell in part.cells)
            result.setdefault(() if isinstance(part.test, Pairs) else names, []).append(part)
    return list(result.values())


def part_table(parts: Sequence[Part]) -> str:
    columns = list(dict.fromkeys(cell.data for part in parts for cell in part.cells))
    rows = []
    for part in parts:
        cells = {cell.data: cell for cell in part.cells}
        texts = [cell_text(part, cells.get(name)) for name in columns]
        if isinstance(part.test, Pairs):
            seeds = [cell.seeds for cell in part.cells]
            least, most = min(seeds), max(seeds)
            texts.append(f"{least}" if least == most else f"{least} to {most}")
        shares = f" ({percents(part.answer)})" if part.answer and cells_judged(part) else ""
        rows.append([label(part), f"{part.verdict}{shares}", *texts])
    seeded = ["seeds"] if isinstance(parts[0].test, Pairs) else []
    heads = ["test", "verdict", *map(short, columns), *seeded]
    return to_markdown(Table("", heads, rows))


def cells_judged(part: Part) -> bool:
    return any(cell.seeds >= FEWEST_SEEDS for cell in part.cells)


def cell_text(part: Part, cell: Cell | None) -> str:
    if cell is None:
        return "-"
    if isinstance(part.test, Pairs):
        return difference(cell)
    text = number(cell.mean, part)
    return f"**{text}**" if part.test.limit is not None and cell.outcome == AHEAD else text
