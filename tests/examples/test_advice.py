"""The page of advice: its numbers are those of the records, and its comparisons still hold."""

from __future__ import annotations

import pytest

NEEDED = "baycomp jax matplotlib optax optuna polars rich river safetensors scikit_posthocs scipy"
for needed in f"{NEEDED} typer xgboost".split():
    pytest.importorskip(needed)

from examples.studies import readme, run_all  # noqa: E402
from examples.studies.advice import numbers  # noqa: E402
from examples.studies.advice import page as advice  # noqa: E402

DOCS = run_all.ROOT / "docs"
RECORDS = {
    "compare_losses": [
        {"data": data, "loss": loss, "seed": seed, "test": {"LRAP": start + 0.01 * seed}}
        for data in ("one", "two")
        for loss, start in {"ours": 0.7, "rival": 0.65, "other": 0.5}.items()
        for seed in range(3)
    ]
}


def text(template: str) -> str:
    return advice.page(template, RECORDS, []).partition("-->\n\n")[2]


def test_the_page_is_what_the_records_say() -> None:
    page = (DOCS / "which_loss.md").read_text(encoding="utf-8")
    command = "python -m examples.studies.run_all --finished"
    assert page == run_all.advice_page(DOCS / "results"), f"run: {command}"


def test_the_table_of_readme_is_what_the_records_say() -> None:
    table = readme.results(run_all.kept_records("first_release", DOCS / "results"))
    assert table in (run_all.ROOT / "README.md").read_text(encoding="utf-8")


def test_a_number_is_that_of_the_records() -> None:
    assert text("{{mean: compare_losses | ours | LRAP | one}}") == "0.710\n"
    assert text("{{percent: compare_losses | ours | LRAP | one}}") == "71.0 %\n"
    assert text("{{gain: compare_losses | ours | rival | LRAP | two}}") == "+5.0 ± 0.0\n"
    assert text(
        "{{rank: compare_losses | rival}}, {{rank: compare_losses | other | LRAP | one}}"
    ) == ("2.0, 3.0\n")
    assert text("{{count: compare_losses}} losses, {{seeds: compare_losses}} seeds") == (
        "3 losses, 3 seeds\n"
    )


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("first: compare_losses | ours", "first: compare_losses | rival | LRAP"),
        ("everywhere: compare_losses | ours | rival | LRAP",
         "everywhere: compare_losses | other | rival | LRAP"),
        ("holds: rank compare_losses | ours < rank compare_losses | rival",
         "holds: rank compare_losses | other < rank compare_losses | rival"),
    ],
)  # fmt: skip
def test_a_sentence_that_is_no_longer_true_is_an_error(true: str, false: str) -> None:
    assert text(f"Ours is better.\n{{{{{true}}}}}\n") == "Ours is better.\n"
    with pytest.raises(ValueError, match="no longer true"):
        text(f"{{{{{false}}}}}")


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("median: compare_losses | ours", "must begin with one of mean, percent"),
        ("mean: compare_losses | ours | LRAP | three", "no 'LRAP' of 'ours' on 'three'"),
        ("mean: sequence | ours | LRAP | one", "no records of 'sequence'"),
        ("rank: compare_losses | ours | mAP", "neither data set nor metric {'mAP'}"),
        ("verdict: Ours is best", "no claim 'Ours is best'"),
    ],
)
def test_a_wrong_mark_is_named(mark: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text(f"{{{{{mark}}}}}")


def test_tables_stay_and_prose_is_wrapped() -> None:
    long = " ".join(["word"] * 60)
    page = text(f"# Title\n\n| a | {long} |\n| --- | --- |\n\n{long}\n\n- {long}\n- two")
    title, table, prose, items = page.strip().split("\n\n")
    assert title == "# Title" and table.count("\n") == 1
    assert max(map(len, f"{prose}\n{items}".splitlines())) <= advice.WIDTH
    assert items.splitlines()[1].startswith("  word") and items.endswith("\n- two")


def test_ranks_of_one_data_set_or_metric() -> None:
    ranks = numbers.all_ranks(RECORDS, "compare_losses", "one", "LRAP")
    assert ranks == {"ours": 1.0, "rival": 2.0, "other": 3.0}
