"""What `compare_losses.py` reports: ranks, tables with mean and spread over seeds, the figure."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable
from scipy.stats import rankdata, studentized_range

from examples.report import LOWER_IS_BETTER, to_json, write_whole

SETS = ("subset accuracy", "Hamming loss", "micro-F1", "macro-F1", "samples-F1")
REPEATED = ("P@1",)  # 1 - one-error
Records = Sequence[Mapping[str, Any]]


class Table(NamedTuple):
    """A title, the names of the columns, and rows of cells as Markdown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def distinct(records: Records, field: str) -> list[Any]:
    return list(dict.fromkeys(record[field] for record in records))


def metric_names(records: Records) -> list[str]:
    """The metrics that all data sets have, each only once."""
    first, *others = (record["test"] for record in records)
    return [m for m in first if m not in REPEATED and all(m in other for other in others)]


def values(records: Records, data: str, loss: str, metric: str, part: str = "test") -> np.ndarray:
    """One number per seed."""
    chosen = [r for r in records if r["data"] == data and r["loss"] == loss]
    return np.array([record[part][metric] for record in chosen])


def all_ranks(records: Records) -> np.ndarray:
    """`[losses, data sets, metrics]`: 1 is the best mean over seeds, ties share their mean rank."""
    losses, names = distinct(records, "loss"), distinct(records, "data")
    ranks = []
    for metric in metric_names(records):
        sign = 1 if metric in LOWER_IS_BETTER else -1
        means = [[values(records, d, loss, metric).mean() for d in names] for loss in losses]
        ranks.append(rankdata(sign * np.array(means), axis=0))
    return np.stack(ranks, axis=-1)


def ordered(records: Records) -> tuple[list[str], np.ndarray]:
    """Losses from the best mean rank to the worst, and their ranks in that order."""
    ranks = all_ranks(records)
    order = np.argsort(ranks.mean(axis=(1, 2)), kind="stable")
    losses = distinct(records, "loss")
    return [losses[i] for i in order], ranks[order]


def critical_difference(losses: int, names: int) -> float:
    """Nemenyi's: two mean ranks over `names` data sets must differ by this at the 5 % level."""
    q = studentized_range.ppf(0.95, losses, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(losses * (losses + 1) / (6 * names)))


def cell(numbers: np.ndarray, metric: str, best: bool = False) -> str:
    digits = 2 if metric == "coverage error" else 4
    text = f"{numbers.mean():.{digits}f}"
    if best:
        text = f"**{text}**"
    return text if len(numbers) < 2 else f"{text} ± {numbers.std(ddof=1):.{digits}f}"


def rank_table(records: Records) -> Table:
    losses, ranks = ordered(records)
    names = distinct(records, "data")
    rows = [
        [f"`{loss}`", *(f"{v:.1f}" for v in rank.mean(axis=1)), f"{rank.mean():.1f}"]
        for loss, rank in zip(losses, ranks, strict=True)
    ]
    title = "Mean rank over the metrics"
    if len(losses) > 1:
        limit = critical_difference(len(losses), len(names))
        title += f" (for one metric, Nemenyi's critical difference at 5 % is {limit:.1f})"
    return Table(title, ["loss", *names, "mean"], rows)


def metric_table(records: Records, data: str, metrics: Sequence[str], title: str) -> Table:
    losses, _ = ordered(records)
    numbers = {(a, m): values(records, data, a, m) for a in losses for m in metrics}
    best = {
        m: (min if m in LOWER_IS_BETTER else max)(numbers[a, m].mean() for a in losses)
        for m in metrics
    }
    rows = [
        [f"`{a}`", *(cell(numbers[a, m], m, numbers[a, m].mean() == best[m]) for m in metrics)]
        for a in losses
    ]
    heads = [f"{m} {'↓' if m in LOWER_IS_BETTER else '↑'}" for m in metrics]
    return Table(f"{data}: {title}", ["loss", *heads], rows)


def zero_table(records: Records, decided: Sequence[str]) -> Table:
    """Micro-F1 at 0, and what the tuned threshold adds."""
    names = distinct(records, "data")
    rows = []
    for loss in [a for a in ordered(records)[0] if a in decided]:
        cells = []
        for data in names:
            at_zero = values(records, data, loss, "micro-F1", "test at 0")
            gain = values(records, data, loss, "micro-F1") - at_zero
            cells.append(f"{cell(at_zero, 'micro-F1')} ({gain.mean():+.4f})")
        rows.append([f"`{loss}`", *cells])
    title = "Micro-F1 at threshold 0 (and the change by the tuned threshold)"
    return Table(title, ["loss", *names], rows)


def rates_table(records: Records, rates: Sequence[float]) -> Table:
    rows = []
    for loss in ordered(records)[0]:
        chosen = Counter(r["rate"] for r in records if r["loss"] == loss)
        rows.append([f"`{loss}`", *(str(chosen[rate]) for rate in rates)])
    return Table("How often each learning rate was chosen", ["loss", *map(str, rates)], rows)


def tables(records: Records, decided: Sequence[str], rates: Sequence[float]) -> list[Table]:
    metrics = metric_names(records)
    result = [rank_table(records)]
    if zero := [loss for loss in decided if loss in distinct(records, "loss")]:
        result.append(zero_table(records, zero))
    for data in distinct(records, "data"):
        sets = [m for m in metrics if m in SETS]
        rankings = [m for m in metrics if m not in SETS]
        result.append(metric_table(records, data, sets, "label sets, tuned threshold"))
        result.append(metric_table(records, data, rankings, "rankings"))
    return [*result, rates_table(records, rates)]


def to_markdown(table: Table, level: str = "###") -> str:
    lines = [table.columns, ["---"] + ["--:"] * (len(table.columns) - 1), *table.rows]
    return f"{level} {table.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_rich(table: Table) -> RichTable:
    """For a narrow terminal: means alone."""
    result = RichTable(*table.columns, title=table.title)
    for row in table.rows:
        cells = (re.sub(r"[`*]| ± [0-9.]+", "", c) for c in row)
        result.add_row(*(f"[bold]{c}" if "**" in r else c for c, r in zip(cells, row, strict=True)))
    return result


def replace_between(path: Path, start: str, end: str, content: str) -> None:
    """Put `content` between the lines `start` and `end` of a file."""
    before, _, rest = path.read_text(encoding="utf-8").partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{path} lacks the lines {start} and {end}")
    write_whole(path, f"{before}{start}\n\n{content}\n\n{end}{after}".encode())


def publish(
    console: Console,
    records: Records,
    tables: Sequence[Table],
    figures: Mapping[Path, bytes],
    json_: Path | None,
    into: Path | None,
    marks: tuple[str, str],
) -> None:
    """The tables on the console, and between the two marks of a page; figures and records apart."""
    for table in tables:
        console.print(to_rich(table))
    for path, content in figures.items():
        write_whole(path, content)
        console.print(f"figure: {path}")
    if json_:
        write_whole(json_, to_json(records))
        console.print(f"records: {json_}")
    if into:
        replace_between(into, *marks, "\n\n".join(map(to_markdown, tables)))
        console.print(f"tables: {into}")


def rank_figure(records: Records) -> bytes:
    """A PNG of two heat maps: the mean rank by metric, and by data set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses, ranks = ordered(records)
    names, metrics = distinct(records, "data"), metric_names(records)
    overall = ranks.mean(axis=(1, 2))[:, None]
    sets = [m in SETS for m in metrics]
    by_metric = ranks.mean(axis=1)
    panels = [
        ("all", overall, [""]),
        ("label sets", by_metric[:, sets], [m for m in metrics if m in SETS]),
        ("rankings", by_metric[:, ~np.array(sets)], [m for m in metrics if m not in SETS]),
        ("data sets", ranks.mean(axis=2), names),
    ]
    widths = [panel[1].shape[1] for panel in panels]
    figure = Figure(
        figsize=(3.6 + 0.55 * sum(widths), 1.9 + 0.32 * len(losses)),
        dpi=100,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    figure.suptitle(f"Mean rank of {len(losses)} losses (1 = best, dark), test split")
    axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for ax, (title, grid, labels) in zip(axes, panels, strict=True):
        ax.imshow(grid, cmap="YlGnBu_r", vmin=1, vmax=max(2, len(losses)), aspect="auto")
        for (row, column), value in np.ndenumerate(grid):
            color = "white" if value < 0.5 * len(losses) else "black"
            ax.text(column, row, f"{value:.1f}", ha="center", va="center", color=color, size=8)
        ax.set_title(title, size=10)
        short = [label.replace("average precision", "AP") for label in labels]
        ax.set_xticks(range(len(labels)), short, rotation=50, ha="right", size=9)
        ax.set_yticks(range(len(losses)), [""] * len(losses))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_yticks(range(len(losses)), losses, size=9)
    for tick, loss in zip(axes[0].get_yticklabels(), losses, strict=True):
        tick.set_fontweight("bold" if loss == "zlpr" else "normal")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def cost_figure(
    costs: Records, methods: Sequence[str], fields: Mapping[str, tuple[str, float]], title: str
) -> bytes:
    """A PNG: each cost against the number of label sets. `fields`: title -> (field, factor)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    sets = [cost["sets"] for cost in costs]
    all_axes = figure.subplots(1, len(fields))
    for axes, (name, (field, factor)) in zip(all_axes, fields.items(), strict=True):
        drawn: list[list[float]] = []
        for index, method in enumerate(methods):
            line = [cost[method][field] * factor for cost in costs]
            if line not in drawn:  # two ways to decide share one model, and its costs
                axes.plot(sets, line, "os^"[index] + "-", color=f"C{index}", label=method, ms=4)
            drawn.append(line)
        axes.set(xscale="log", yscale="log", title=name, xlabel="distinct label sets")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[-1].legend(frameon=False, fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
