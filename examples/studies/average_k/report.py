"""What the study reports: accuracy with set sizes, differences seed by seed, the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from examples.studies.common.figures import new_figure, png
from examples.studies.common.tables import Table, distinct

BASELINE = "cross-entropy"
BINS = ("few", "medium", "many")
# one more than a cycle of matplotlib's
COLORS = (*(f"C{index}" for index in range(10)), "black")
Records = Sequence[Mapping[str, Any]]


def select(records: Records, **fields: Any) -> list[Mapping[str, Any]]:
    return [r for r in records if all(r[name] == value for name, value in fields.items())]


def numbers(records: Records, part: str, name: str) -> np.ndarray:
    return np.array([record[part].get(name, np.nan) for record in records])


def spread(values: np.ndarray, sign: bool = False) -> str:
    """Mean ± standard deviation over seeds, in per cent."""
    if np.isnan(values).all():
        return "-"
    mean = f"{100 * values.mean():{'+' if sign else ''}.1f}"
    return f"{mean} ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else mean


def gain(records: Records, data: str, k: float, method: str, name: str) -> np.ndarray:
    """By how much a method is above thresholded cross-entropy at equal set size, seed by seed."""
    ours, base = (select(records, data=data, k=k, method=m) for m in (method, BASELINE))
    pairs = {r["seed"]: r for r in base}
    both = [(r, pairs[r["seed"]]) for r in ours if r["seed"] in pairs]
    return np.array([r["equal"].get(name, np.nan) - b["equal"].get(name, np.nan) for r, b in both])


def tables(records: Records) -> list[Table]:
    result = [table for data in distinct(records, "data") for table in data_tables(records, data)]
    return [*result, gain_table(records), bin_table(records), choice_table(records)]


def data_tables(records: Records, data: str) -> list[Table]:
    chosen = select(records, data=data)
    return [accuracy_table(chosen, data), *shot_tables(chosen, data), *answer_tables(chosen, data)]


def accuracy_table(records: Records, data: str) -> Table:
    ks = sorted(distinct(records, "k"))
    columns = ["method"]
    for k in ks:
        columns += [f"k = {k:g}", "size", f"at size {k:g}"]
    best = {
        k: max(
            numbers(select(records, k=k, method=m), "equal", "accuracy").mean()
            for m in distinct(select(records, k=k), "method")
        )
        for k in ks
    }
    rows = []
    for method in distinct(records, "method"):
        row = [f"`{method}`"]
        for k in ks:
            some = select(records, k=k, method=method)
            if not some:
                row += ["-"] * 3
                continue
            equal = numbers(some, "equal", "accuracy")
            cell = spread(equal)
            row += [
                spread(numbers(some, "calibrated", "accuracy")),
                f"{numbers(some, 'calibrated', 'size').mean():.2f}",
                f"**{cell}**" if equal.mean() == best[k] else cell,
            ]
        rows.append(row)
    return Table(f"{data}: average-k accuracy in %, and the mean set size", columns, rows)


def shot_tables(records: Records, data: str) -> list[Table]:
    """Macro accuracy by training count, where there is more than one bin."""
    bins = [b for b in BINS if not np.isnan(numbers(records, "equal", b)).all()]
    if len(bins) < 2:
        return []
    rows = []
    k = middle(records)
    for method in distinct(select(records, k=k), "method"):
        some = select(records, k=k, method=method)
        cells = [spread(numbers(some, "equal", name)) for name in ("macro", *bins)]
        rows.append([f"`{method}`", *cells])
    title = f"{data}: accuracy by class in %, at the set size {k:g}"
    return [Table(title, ["method", "all classes", *bins], rows)]


def answer_tables(records: Records, data: str) -> list[Table]:
    """Against all right answers, where the data have them."""
    groups = [name for name in records[0]["equal"] if name.endswith(" answers")]
    if not groups:
        return []
    rows = []
    k = middle(records)
    for method in distinct(select(records, k=k), "method"):
        some = select(records, k=k, method=method)
        names = ("answers found", "precision", *groups)
        rows.append([f"`{method}`", *(spread(numbers(some, "equal", name)) for name in names)])
    title = f"{data}: all right answers, and accuracy by their number, in %, at the set size {k:g}"
    return [Table(title, ["method", "answers found", "precision", *groups], rows)]


def middle(records: Records) -> float:
    """The k with the most seeds."""
    ks = distinct(records, "k")
    return max(ks, key=lambda k: len(distinct(select(records, k=k), "seed")))


def gain_table(records: Records) -> Table:
    cases = [(d, k) for d in distinct(records, "data") for k in sorted(distinct(records, "k"))]
    rows = [
        [
            f"`{method}`",
            *(spread(gain(records, data, k, method, "accuracy"), sign=True) for data, k in cases),
        ]
        for method in distinct(records, "method")
        if method != BASELINE
    ]
    columns = ["method", *(f"{data}, k = {k:g}" for data, k in cases)]
    return Table(
        f"Accuracy less that of `{BASELINE}` at equal set size, seed by seed, in points",
        columns,
        rows,
    )


def bin_table(records: Records) -> Table:
    """Where the two-head loss gains: by training count and by number of right answers."""
    k = middle(records)
    names = [*BINS, *dict.fromkeys(n for r in records for n in r["equal"] if n.endswith("answers"))]
    rows = []
    for data in distinct(records, "data"):
        for method in distinct(select(records, data=data, k=k), "method"):
            if method.startswith("two-head"):
                cells = [spread(gain(records, data, k, method, n), sign=True) for n in names]
                rows.append([data, f"`{method}`", *cells])
    title = f"The same difference by class size and by ambiguity, k = {k:g}, in points"
    return Table(title, ["data", "method", *names], rows)


def choice_table(records: Records) -> Table:
    rows = []
    for data in distinct(records, "data"):
        for method in distinct(select(records, data=data), "method"):
            for k in sorted(distinct(select(records, data=data, method=method), "k")):
                record = select(records, data=data, method=method, k=k)[0]
                rate, decay, *own = record["configuration"]
                text = ", ".join(f"{value:g}" for value in own)
                cells = [f"{rate:g}", f"{decay:g}", text, str(record["configurations"])]
                rows.append([data, f"`{method}`", f"{k:g}", *cells])
    columns = ["data", "method", "k", "learning rate", "weight decay", "constants", "candidates"]
    return Table("The settings that the validation part chose", columns, rows)


def curves_figure(records: Records, sizes: Sequence[float]) -> bytes:
    """A PNG: accuracy on the test split against the mean set size, one panel for each data set."""
    k = middle(records)
    names = distinct(records, "data")
    # the longer searches of the two-head loss, "two-head, ...", are in the tables alone
    methods = [name for name in distinct(select(records, k=k), "method") if ", " not in name]
    columns = min(2, len(names))
    lines = -(-len(names) // columns)
    figure = new_figure(figsize=(5.2 * columns + 2.4, 3.7 * lines), dpi=120)
    figure.suptitle(f"Test accuracy against mean set size (trained and chosen at k = {k:g})")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes, data in zip(grid.flat, names, strict=False):
        for index, method in enumerate(methods):
            some = select(records, data=data, k=k, method=method)
            if not some:
                continue
            mean = 100 * np.mean([record["curve"] for record in some], axis=0)
            strong = method == BASELINE or method.startswith("two-head")
            style = {"lw": 1.8 if strong else 1.0, "ls": "-" if strong else "--"}
            axes.plot(sizes, mean, label=method, color=COLORS[index % len(COLORS)], **style)
        axes.set(title=data, xscale="log", xlabel="mean set size", ylabel="accuracy, %")
        axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    return png(figure)
