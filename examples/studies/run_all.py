"""Run every comparison again, and judge the papers' claims by what they found.

    python -m examples.studies.run_all --data-dir path/to/data
    python -m examples.studies.run_all --data-dir path/to/data --only top_k --finished
    python -m examples.studies.run_all --finished

The first runs all comparisons at full size, which takes many hours, and goes on where it was cut
off: each of them keeps its finished runs in `runs/`. The second runs nothing, and packs what is
finished of one comparison into `docs/results/finished_runs/`, from where the first goes on, on this
machine or another. The third needs neither data nor runs: it takes the records beside the pages.

Of each comparison that is complete it writes the records, `docs/results/<name>.json`, and from
these alone the tables of its page; with data the figures too. While runs are missing, all of these
stay. Last the verdicts, `docs/results/index.md` and in each page, and the advice that rests on
them, `docs/which_loss.md`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from typer import Option

from examples import phenotypes_data
from examples.files import to_json, write_whole
from examples.studies import readme
from examples.studies.advice import page as advice
from examples.studies.average_k import report as average_k_report
from examples.studies.average_k import study as average_k
from examples.studies.boosted_trees import report as boosted_trees_report
from examples.studies.boosted_trees import study as boosted_trees
from examples.studies.claims.all_claims import CLAIMS, CONDITIONS
from examples.studies.claims.figure import forest
from examples.studies.claims.page import page, verdict_table
from examples.studies.claims.rule import Judged, judge
from examples.studies.claims.runs import EXTREME_LABELS, RUNS
from examples.studies.common.command import check_names
from examples.studies.common.pages import replace_between
from examples.studies.common.records import one_per_line, without
from examples.studies.common.store import Runs, Unfinished, pack, unpack
from examples.studies.common.tables import titled
from examples.studies.compare_losses import report as comparison_report
from examples.studies.compare_losses import study as compare_losses
from examples.studies.contrastive import report as contrastive_report
from examples.studies.contrastive import study as contrastive
from examples.studies.decisions import study as decisions
from examples.studies.first_release import study as first_release
from examples.studies.label_ranking import study as label_ranking
from examples.studies.phenotypes import report as phenotypes_report
from examples.studies.phenotypes import study as phenotypes
from examples.studies.powerset import study as powerset
from examples.studies.sequence import study as sequence
from examples.studies.top_k import report as top_k_report
from examples.studies.top_k import study as top_k
from examples.studies.which_loss.as_runs import kept
from examples.studies.which_loss.page import render
from examples.studies.which_loss.records import Records
from examples.studies.which_loss.study import FULL

ROOT = Path(__file__).parents[2]
EXTREME = {
    "--labels": EXTREME_LABELS,
    "--features": 64,
    "--examples": 50_000,
    "--steps": 20,
    "--test-rows": 512,
}
# between these a page holds the verdicts on its claims
VERDICT_MARKS = "<!-- verdicts -->", "<!-- end of verdicts -->"
# where a page is not results/<name>.md
PAGES = {"extreme": "../scaling.md", "speed_top_k": "../speed_top_k.md"}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


class Place(NamedTuple):
    """Where data, finished runs and results are, and whether anything may be run."""

    data_dir: Path | None
    runs: Path
    docs: Path
    finished: bool


class Comparison(NamedTuple):
    """`run` writes its records as JSON to the path given, and its figures beside them.

    It returns the runs that these rest on; None where it keeps no such runs. `tables` turns the
    records into Markdown. `dropped` are fields of a record that neither tables nor claims use. A
    study that keeps its records otherwise has a `read` of its own, and one that makes its whole
    page a `page`; both take the folder of the results.
    """

    run: Callable[[Place, Path], Runs | None]
    tables: Callable[[Any], str] | None = None
    marks: tuple[str, str] = ("", "")
    dropped: tuple[str, ...] = ()
    read: Callable[[Path], Any] | None = None
    page: Callable[[Path], None] | None = None


def command(name: str, main: Callable[..., Runs], **figures: str) -> Callable[[Place, Path], Runs]:
    def run(place: Place, json_: Path) -> Runs:
        drawn = {option: json_.with_name(file) for option, file in figures.items()}
        return main(
            data_dir=place.data_dir,
            runs=place.runs / name,
            json_=json_,
            finished=place.finished,
            **drawn,
        )

    return run


def run_extreme(place: Place, json_: Path) -> Runs:
    """In a process of its own, whose peak memory is that of nothing else."""

    def measured() -> Any:
        with TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            options = [str(x) for pair in EXTREME.items() for x in pair]
            program = [sys.executable, "-m", "examples.extreme"]
            subprocess.run([*program, *options, "--report", str(report)], check=True, cwd=ROOT)
            return json.loads(report.read_text())

    runs, name = Runs(place.runs / "extreme", place.finished), f"labels-{EXTREME_LABELS}"
    result = runs.get(name, EXTREME, measured)
    if result is None:
        raise Unfinished(runs)
    write_whole(json_, to_json([{"labels": EXTREME_LABELS, "options": EXTREME, "result": result}]))
    return runs


def run_which_loss(place: Place, json_: Path) -> None:
    """It keeps each finished run in its tables, beside the pages, and computes with one thread."""
    if not place.finished:
        program = [sys.executable, "-m", "examples.studies.which_loss", "run"]
        folders = [place.data_dir.absolute(), place.docs.absolute() / "which_loss"]
        options = ["--data-dir", str(folders[0]), "--records", str(folders[1])]
        subprocess.run([*program, *options], check=True, cwd=ROOT)


def page_of_which_loss(docs: Path) -> None:
    render(Records(docs / "which_loss"), docs / "which_loss.md", None, FULL)


def run_phenotypes(place: Place, json_: Path) -> Runs:
    """Its data come with a package, so it needs no folder of data."""
    if not phenotypes_data.installed():
        raise typer.BadParameter(phenotypes_data.INSTALL)
    return phenotypes.main(
        seeds=3,
        rates=[0.003, 0.01],
        epochs=6,
        runs=place.runs / "phenotypes",
        json_=json_,
        finished=place.finished,
    )


def run_speed_top_k(place: Place, json_: Path) -> None:
    """The benchmark keeps each finished cell in its own file, beside the pages."""
    kept = place.docs / "speed_top_k.json"
    if not place.finished:
        program = [sys.executable, "-m", "benchmarks.table_top_k"]
        subprocess.run([*program, "--results", str(kept.absolute())], check=True, cwd=ROOT)
    if kept.exists():
        write_whole(json_, kept.read_bytes())


def all_tables(tables: Callable[[Any], Any]) -> Callable[[Any], str]:
    return lambda records: "\n\n".join(map(titled, tables(records)))


COMPARISONS = {
    "first_release": Comparison(
        command("first_release", first_release.main),
        first_release.markdown,
        first_release.MARKS,
    ),
    "compare_losses": Comparison(
        command("compare_losses", compare_losses.main, figure="compare_losses.png"),
        all_tables(
            lambda records: comparison_report.tables(
                records, compare_losses.DECIDED_AT_ZERO, compare_losses.RATES
            )
        ),
        compare_losses.MARKS,
        dropped=("rates", "seconds", "threshold"),
    ),
    "which_loss": Comparison(
        run_which_loss, read=lambda docs: kept(docs / "which_loss"), page=page_of_which_loss
    ),
    "powerset": Comparison(
        command("powerset", powerset.main, figure="powerset.png"),
        all_tables(powerset.tables),
        powerset.MARKS,
    ),
    "sequence": Comparison(
        command("sequence", sequence.main),
        all_tables(sequence.tables),
        sequence.MARKS,
    ),
    "top_k": Comparison(
        command("top_k", top_k.main, figure="top_k.png"),
        all_tables(top_k_report.tables),
        top_k.MARKS,
        dropped=("validation",),
    ),
    "average_k": Comparison(
        command("average_k", average_k.main, figure="average_k.png"),
        all_tables(average_k_report.tables),
        average_k.MARKS,
        dropped=("curve", "empty", "largest"),
    ),
    "contrastive": Comparison(
        command(
            "contrastive",
            contrastive.main,
            figure="contrastive.png",
            embeddings="contrastive_embeddings.png",
        ),
        all_tables(
            lambda records: contrastive_report.tables(records, next(iter(contrastive.END_TO_END)))
        ),
        contrastive.MARKS,
        dropped=("projection", "rates", "seconds", "threshold"),
    ),
    "boosted_trees": Comparison(
        command("boosted_trees", boosted_trees.main, figure="boosted_trees.png"),
        all_tables(lambda record: boosted_trees_report.tables(record["runs"], record["costs"])),
        boosted_trees.MARKS,
    ),
    "decisions": Comparison(
        command("decisions", decisions.main, figure="decisions.png"),
        all_tables(decisions.tables),
        decisions.MARKS,
    ),
    "label_ranking": Comparison(
        command("label_ranking", label_ranking.main, figure="label_ranking.png"),
        all_tables(label_ranking.tables),
        label_ranking.MARKS,
    ),
    "phenotypes": Comparison(
        run_phenotypes, all_tables(phenotypes_report.tables), phenotypes.MARKS
    ),
    "speed_top_k": Comparison(run_speed_top_k),
    "extreme": Comparison(run_extreme),
}


def brought_up(name: str, place: Place) -> None:
    """Run the comparison, or take what is finished, and pack it.

    Its records and figures go beside its page if no run is missing.
    """
    comparison = COMPARISONS[name]
    table = place.docs / "finished_runs" / f"{name}.jsonl.gz"
    unpack(table, place.runs / name)
    with TemporaryDirectory() as folder:
        made = Path(folder) / "records.json"
        try:
            runs = comparison.run(place, made)
        except typer.BadParameter as error:
            if not place.finished:
                raise
            if not isinstance(error, Unfinished):  # what it would have asked for is not known
                console.print(f"{name}: {error.message}; all beside the page stays")
                return
            runs = error.runs
        if runs:
            pack(runs, table)
        if runs and runs.missing:
            done = len(runs.asked) - runs.missing
            missing = f"{done} runs are finished and packed, {runs.missing} or more are missing"
            console.print(f"{name}: {missing}; the records beside the page stay")
            return
        if made.exists():
            records = without(json.loads(made.read_text()), comparison.dropped)
            write_whole(place.docs / f"{name}.json", one_per_line(records))
        for figure in Path(folder).glob("*.png"):
            write_whole(place.docs / figure.name, figure.read_bytes())


def kept_records(name: str, docs: Path) -> Any:
    """The records beside the page; None where there are none."""
    if read := COMPARISONS[name].read:
        return read(docs)
    path = docs / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def write_tables(name: str, docs: Path) -> None:
    """The tables of a comparison's own page, made from the records beside it."""
    comparison, path = COMPARISONS[name], docs / f"{name}.md"
    records = kept_records(name, docs)
    if comparison.page and records is not None:
        comparison.page(docs)
        console.print(f"page: {path}")
    if comparison.tables and records is not None and path.exists():
        replace_between(path, *comparison.marks, comparison.tables(records))
        console.print(f"tables: {path}")


def judged_claims(docs: Path) -> list[Judged]:
    records = {name: kept_records(name, docs) for name in COMPARISONS}
    runs = {name: RUNS[name](found) for name, found in records.items() if found and name in RUNS}
    return [judge(c, records[c.comparison], runs.get(c.comparison, ())) for c in CLAIMS]


def write_verdicts(docs: Path) -> list[Judged]:
    judged = judged_claims(docs)
    links = {name: PAGES.get(name, f"{name}.md") for name in COMPARISONS}
    links = {name: link for name, link in links.items() if (docs / link).exists()}
    write_whole(docs / "claims.png", forest(judged))
    write_whole(docs / "index.md", page(judged, links, CONDITIONS).encode())
    console.print(f"verdicts: {docs / 'index.md'}")
    return judged


def write_study_verdicts(docs: Path, judged: Sequence[Judged]) -> None:
    """In the page of each comparison, the verdicts on its claims."""
    for name in COMPARISONS:
        path, own = docs / f"{name}.md", [one for one in judged if one.claim.comparison == name]
        if own and path.exists() and VERDICT_MARKS[0] in path.read_text("utf-8"):
            replace_between(path, *VERDICT_MARKS, verdict_table(own, "index.md"))


def advice_page(docs: Path) -> str:
    """`docs/which_loss.md`, with the numbers of the records."""
    records = {name: found for name in COMPARISONS if (found := kept_records(name, docs))}
    return advice.page(advice.TEMPLATE.read_text("utf-8"), records, judged_claims(docs))


def write_advice(docs: Path) -> None:
    path = docs.parent / "which_loss.md"
    if path.exists():
        write_whole(path, advice_page(docs).encode())
        console.print(f"advice: {path}")


def write_readme(docs: Path) -> None:
    """The table of README, if these are the project's own pages."""
    path = docs.parents[1] / "README.md"
    if path.exists() and (records := kept_records("first_release", docs)):
        replace_between(path, *readme.MARKS, readme.results(records))
        console.print(f"table: {path}")


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data_dir: Annotated[Path | None, Option(help="holds emotions.npz, scene.npz, ...")] = None,
    only: Annotated[list[str] | None, Option(help=f"of {', '.join(COMPARISONS)}; repeat")] = None,
    finished: Annotated[bool, Option("--finished", help="report, run nothing")] = False,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs"),
    docs: Annotated[Path, Option(help="where records and pages go")] = ROOT / "docs" / "results",
) -> None:
    names = only or list(COMPARISONS)
    check_names("comparison", names, COMPARISONS, "--only")
    if data_dir is None and not finished:
        raise typer.BadParameter(
            "is needed to run the comparisons; --finished alone reports the records kept",
            param_hint="--data-dir",
        )
    if data_dir is not None:
        for name in names:
            console.rule(name)
            brought_up(name, Place(data_dir, runs, docs, finished))
    for name in names:
        write_tables(name, docs)
    judged = write_verdicts(docs)
    write_study_verdicts(docs, judged)
    for one in judged:
        console.print(f"{one.verdict:>12}  {one.claim.name}")
    write_advice(docs)
    write_readme(docs)


if __name__ == "__main__":
    app()
