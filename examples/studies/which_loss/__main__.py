"""The command of the study: `run` works and resumes, `page` renders what there is."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

# one thread for each process: several processes share the data sets between them
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from typer import Option

from examples.studies.which_loss import data_sets
from examples.studies.which_loss.records import Records
from examples.studies.which_loss.remaining import seconds_left, spoken, units
from examples.studies.which_loss.study import FULL, SMALL, Block, measure_again, plan
from examples.studies.which_loss.study import run as run_blocks

RECORDS = Path("docs/results/which_loss")
SMALL_RECORDS = Path("runs/which_loss_small")
SIZES = {"full": FULL, "small": SMALL}
BAR = (
    "{task.description}",
    BarColumn(),
    TextColumn("{task.fields[left]} left"),
    TimeElapsedColumn(),
)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def run(
    data_dir: Annotated[Path | None, Option(help="holds emotions.npz, scene.npz, ...")] = None,
    data: Annotated[list[str] | None, Option(help="repeat; default all that are found")] = None,
    size: Annotated[str, Option(help="full, or small: three sets, ten minutes")] = "full",
    records: Annotated[Path | None, Option(help="folder of the tables")] = None,
    time_limit: Annotated[float | None, Option(help="minutes")] = None,
    scores: Annotated[Path | None, Option(help="keep all scores here, for `measure`")] = None,
    appendix: Annotated[bool, Option(help="the other losses too")] = True,
) -> None:
    """Do all runs that the records lack. Start it again to go on, or twice to use two cores."""
    folder = records or checked(size)
    known = data_sets.available(data_dir)
    if unknown := sorted(set(data or []) - set(known)):
        raise typer.BadParameter(f"not found: {', '.join(unknown)}", param_hint="--data")
    names = data or known
    if size == "small":
        names = [name for name in names if name in data_sets.BUNDLED and name in data_sets.MAIN]
        appendix = False
    blocks = plan(names, SIZES[size], appendix)
    kept = Records(folder)
    began = time.monotonic()
    console = Console()
    with Progress(*BAR, console=console) as progress:
        task = progress.add_task("", total=units(blocks, kept, done=False), left="")

        def after(block: Block, what: str) -> None:
            left = spoken(seconds_left(blocks, kept))
            completed = units(blocks, kept, done=True)
            text = f"{block.data} {block.loss} {what}"
            progress.update(task, completed=completed, description=text, left=left)
            if not console.is_terminal:  # a log
                print(f"{(time.monotonic() - began) / 60:.1f} min  {text}  {left} left", flush=True)

        def is_over() -> bool:
            return time_limit is not None and time.monotonic() - began > time_limit * 60

        run_blocks(blocks, kept, data_dir, after, is_over, scores)


@app.command()
def measure(
    scores: Annotated[Path, Option(help="scores that `run --scores` kept")],
    records: Annotated[Path, Option(help="folder of the tables")] = RECORDS,
    data_dir: Annotated[Path | None, Option(help="holds emotions.npz, scene.npz, ...")] = None,
) -> None:
    """Decide and measure anew, after a new rule or metric; nothing is trained."""
    measure_again(Records(records), data_dir, scores)


@app.command()
def page(
    size: Annotated[str, Option(help="full or small, as for `run`")] = "full",
    records: Annotated[Path | None, Option(help="folder of the tables")] = None,
    into: Annotated[Path | None, Option(dir_okay=False)] = None,
    data_dir: Annotated[Path | None, Option(help="for the properties of the data")] = None,
) -> None:
    """Render the page and its figures from the records."""
    from examples.studies.which_loss.page import render

    folder = records or checked(size)
    small = folder / "which_loss.md"
    render(
        Records(folder),
        into or (small if size == "small" else Path("docs/results/which_loss.md")),
        data_dir,
        SIZES[size],
    )


def checked(size: str) -> Path:
    """Where records of this size are by default."""
    if size not in SIZES:
        raise typer.BadParameter(f"must be one of {', '.join(SIZES)}", param_hint="--size")
    return SMALL_RECORDS if size == "small" else RECORDS


if __name__ == "__main__":
    app()
