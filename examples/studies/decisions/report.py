"""What the study reports: gains over the cut at 0, and recall promised and reached."""

from __future__ import annotations

from typing import Any

import numpy as np

from examples.studies.common.figures import new_figure, png
from examples.studies.common.statistics import gap_cells
from examples.studies.common.tables import Records, Table, distinct

CUT = "cut at 0"
RULES = ("one threshold", "threshold per label", "expected F", "expected F, temperature")
WITHOUT, WITH = "expected F", "expected F, temperature"
DRAWN = ("one threshold", WITHOUT, WITH)
MARKERS = ("s", "o", "^")


def values(records: Records, data: str, loss: str, rule: str, metric: str) -> np.ndarray:
    """One number for each seed."""
    found = [r for r in records if r["data"] == data and r["loss"] == loss]
    return np.array([r["test"][rule][metric] for r in found])


def pairs(records: Records) -> list[tuple[str, str]]:
    return [(data, a) for data in distinct(records, "data") for a in distinct(records, "loss")]


def gain_table(records: Records, metric: str) -> Table:
    rows_of = pairs(records)
    gaps = [
        values(records, *pair, rule, metric) - values(records, *pair, CUT, metric)
        for pair in rows_of
        for rule in RULES
    ]
    cells = np.array(gap_cells(gaps)).reshape(len(rows_of), len(RULES))
    rows = [
        [data, f"`{loss}`", f"{values(records, data, loss, CUT, metric).mean():.3f}", *own]
        for (data, loss), own in zip(rows_of, cells.tolist(), strict=True)
    ]
    title = f"{metric}: gain over the cut at 0 in points (p of a paired t-test over seeds)"
    return Table(title, ["data", "loss", CUT, *RULES], rows, text_columns=2)


def against_tuned_table(records: Records, metric: str) -> Table:
    """Expected F minus what a threshold gives, and the temperature that was fitted."""
    rows_of = pairs(records)
    contrasts = [(WITHOUT, "one threshold"), (WITH, "one threshold"), (WITH, WITHOUT)]
    gaps = [
        values(records, *pair, ours, metric) - values(records, *pair, other, metric)
        for pair in rows_of
        for ours, other in contrasts
    ]
    cells = np.array(gap_cells(gaps)).reshape(len(rows_of), len(contrasts))
    rows = []
    for (data, loss), own in zip(rows_of, cells.tolist(), strict=True):
        fitted = [r["temperature"] for r in records if r["data"] == data and r["loss"] == loss]
        rows.append([data, f"`{loss}`", *own, f"{np.median(fitted):.2f}"])
    title = f"{metric}: expected F against a tuned threshold, in points"
    heads = [f"{ours} - {other}" for ours, other in contrasts]
    return Table(title, ["data", "loss", *heads, "temperature (median)"], rows, text_columns=2)


def promise(records: Records, data: str, loss: str, recall: str, field: str) -> np.ndarray:
    found = [r for r in records if r["data"] == data and r["loss"] == loss]
    return np.array([r["promises"][recall][field] for r in found])


def recall_table(records: Records) -> Table:
    recalls = list(records[0]["promises"])
    rows = []
    for data, loss in pairs(records):
        about = next(r for r in records if r["data"] == data)
        cells = []
        for recall in recalls:
            mean = {
                field: promise(records, data, loss, recall, field).mean()
                for field in ("reached", "spread", "below", "size")
            }
            cells.append(f"{mean['reached']:.3f} ± {mean['spread']:.3f}")
            cells.append(f"{mean['below']:.0%}")
            cells.append(f"{mean['size']:.1f}")
        rows.append(
            [data, f"`{loss}`", f"{about['labels per row']:.1f} of {about['labels']}", *cells]
        )
    heads = [head for r in recalls for head in (f"promised {r}: reached", "below it", "labels")]
    title = "Recall promised and reached on the other half of the test rows, and the size of a set"
    return Table(title, ["data", "loss", "true labels", *heads], rows, text_columns=2)


def tables(records: Records) -> list[Table]:
    return [
        gain_table(records, "samples-F1"),
        gain_table(records, "macro-F1"),
        against_tuned_table(records, "samples-F1"),
        recall_table(records),
    ]


def figure_of(records: Records) -> bytes:
    """A PNG: on the left what each rule gains, on the right what a promised recall costs."""
    names, losses = distinct(records, "data"), distinct(records, "loss")
    figure = new_figure(figsize=(11.5, 1.6 + 0.42 * len(names)), dpi=130)
    gains, recalls = figure.subplots(1, 2)
    for place, data in enumerate(names):
        for number, loss in enumerate(losses):
            at = place + (number - (len(losses) - 1) / 2) * 0.36
            for index, rule in enumerate(DRAWN):
                gap = values(records, data, loss, rule, "samples-F1")
                gap = 100 * (gap - values(records, data, loss, CUT, "samples-F1"))
                fill = f"C{index}" if number == 0 else "white"
                label = rule if place == number == 0 else None
                gains.plot(
                    gap.mean(), at, MARKERS[index], color=f"C{index}", mfc=fill, ms=6, label=label
                )
    gains.axvline(0, color="0.6", lw=1)
    gains.set_yticks(range(len(names)), names)
    gains.invert_yaxis()
    gains.set(xlabel="points of samples-F1", title="Gain over the cut at 0")
    gains.legend(frameon=False, fontsize=8)
    draw_promises(recalls, records)
    fills = zip(("filled", "hollow"), losses, strict=False)
    figure.suptitle(", ".join(f"{fill}: {loss}" for fill, loss in fills), size=10)
    for axes in (gains, recalls):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def draw_promises(axes: Any, records: Records) -> None:
    """Recall reached against the size of a set, one line for each data set and loss."""
    promised = list(records[0]["promises"])
    for index, data in enumerate(distinct(records, "data")):
        about = next(r for r in records if r["data"] == data)
        for number, loss in enumerate(distinct(records, "loss")):
            size, reached = (
                [promise(records, data, loss, r, field).mean() for r in promised]
                for field in ("size", "reached")
            )
            color = f"C{index}"
            axes.plot(
                np.array(size) / about["labels per row"],
                reached,
                "-o" if number == 0 else "--o",
                color=color,
                mfc=color if number == 0 else "white",
                ms=4,
                lw=1,
                label=data if number == 0 else None,
            )
    for recall in promised:
        axes.axhline(float(recall), color="0.4", lw=1, ls=":")
    axes.set_yticks([float(r) for r in promised])
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set(
        xlabel="labels in a set, as a multiple of the true ones",
        ylabel="recall reached (dotted: promised)",
        title="What a promised recall costs",
    )
    axes.legend(frameon=False, fontsize=8)
