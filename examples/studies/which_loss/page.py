"""The page of the study: tables, answers and what they depend on, from the records alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from examples.studies.common.judging import FEWEST_SETS
from examples.studies.which_loss import answers, data_sets, losses, training_report
from examples.studies.which_loss.figures import differences
from examples.studies.which_loss.properties import known_properties
from examples.studies.which_loss.records import Records
from examples.studies.which_loss.study import Size
from examples.studies.which_loss.tables import (
    METRICS,
    QUESTIONS,
    complete_appendix,
    complete_largest,
    complete_sets,
    gains,
    markdown,
    spread,
    values,
)

BASELINES = ("binary_cross_entropy", "zlpr")


def render(records: Records, into: Path, folder: Path | None, size: Size) -> None:
    """Write the page and its figures beside it.

    Only complete data sets count: every main loss with as many folds as the size asks for.
    """
    runs = pd.DataFrame(records.table().to_dict(as_series=False))
    complete = complete_sets(runs, size.folds)
    into.parent.mkdir(parents=True, exist_ok=True)
    parts = ["# Which loss for multi-label classification?", *_state(complete)]
    if len(complete) >= FEWEST_SETS:
        found = {baseline: answers.against(runs, complete, baseline) for baseline in BASELINES}
        records.keep("answers", answers.as_json(found))
        parts += answers.sections(runs, complete, found, into)
    known = known_properties(complete, records, folder)
    parts += _dependence(runs, list(known), known, into)
    if complete:
        parts += training_report.sections(runs, records, complete)
        parts += [part for title in QUESTIONS for part in _each_set(runs, complete, title)]
    parts += _appendix(runs, size)
    into.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _state(complete: list[str]) -> list[str]:
    parts = [
        "Rendered by `python -m examples.studies.which_loss page`; the conditions are in "
        "[the protocol](which_loss_protocol.md). Advice that follows from it is on [its "
        "page](../which_loss.md), and the papers' claims that it judges are [here](index.md).",
        f"Complete data sets: {len(complete)} of {len(data_sets.MAIN)}"
        + (f" ({', '.join(complete)})." if complete else "."),
    ]
    if len(complete) < FEWEST_SETS:
        parts.append(
            "**The study is not finished.** There are no statistics before "
            f"{FEWEST_SETS} data sets are complete."
        )
    elif len(complete) < len(data_sets.MAIN):
        parts.append(
            "**The study is not finished.** The answers below are those of the complete data sets "
            "and may still change."
        )
    return parts


def _dependence(
    runs: pd.DataFrame, names: list[str], known: dict[str, dict[str, float]], into: Path
) -> list[str]:
    if len(names) < 2:
        return []
    table = pd.DataFrame(known).T
    figure = into.with_name(f"{into.stem}_data.png")
    order = list(table["labels per example"].sort_values().index)
    differences({title: values(runs, order, title) for title in ("micro-F1", "mAP")}, figure)
    parts = [
        "## When does what matter?",
        markdown(table),
        f"![Difference to binary cross-entropy, sets by labels per example]({figure.name})",
    ]
    if len(names) < FEWEST_SETS:
        return parts
    for title in ("micro-F1", "mAP"):
        gain = gains(values(runs, names, title), title, BASELINES[0])
        related = pd.DataFrame(
            {column: gain.corrwith(table[column], method="spearman") for column in table}
        )
        parts += [
            f"Rank correlation of the gain in {title} over binary cross-entropy with a property of "
            f"the data, over {len(names)} sets: hints, no more.",
            markdown(related.map("{:+.2f}".format)),
        ]
    return parts


def _each_set(runs: pd.DataFrame, names: list[str], title: str) -> list[str]:
    table = values(runs, names, title)
    deviation = spread(runs, names, title).map("± {:.3f}".format)
    table.insert(table.shape[1], "over folds", deviation.reindex(table.index))
    said = [f"## {title} on each data set"]
    if title == next(iter(QUESTIONS)):
        said.append(
            "Means over folds or seeds. The last column is their standard deviation, the median of "
            "the losses."
        )
    return [*said, markdown(table)]


def _appendix(runs: pd.DataFrame, size: Size) -> list[str]:
    """Other losses, and the largest data sets: searched and run at smaller depth."""
    parts = []
    runs = runs[runs["fold"] < size.other_folds]
    if others := complete_appendix(runs, size.other_folds):
        depth = f"{size.other_trials} settings and {size.other_folds} folds for each loss"
        said = f"{depth}; no statistics. `{BASELINES[0]}` is that of the main table on these folds."
        parts += ["## Appendix: other losses", said]
        for title in METRICS:
            table = values(runs, others, title, losses.APPENDIX)
            table.insert(0, BASELINES[0], values(runs, others, title)[BASELINES[0]])
            parts += [f"### {title}, other losses", markdown(table)]
    if largest := complete_largest(runs, size.other_folds):
        parts.append("## Appendix: the largest data sets")
        for title in METRICS:
            parts += [
                f"### {title}, the largest data sets",
                markdown(values(runs, largest, title)),
            ]
    return parts
