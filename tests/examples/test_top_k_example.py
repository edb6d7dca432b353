"""The comparison of losses for K guesses in a reduced size: it runs, resumes and reports."""

from __future__ import annotations

import json

import numpy as np
import pytest

for needed in "baycomp jax matplotlib optax rich safetensors scipy sklearn typer".split():
    pytest.importorskip(needed)

import jax  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from examples.studies.common import one_label  # noqa: E402
from examples.studies.common.store import Runs  # noqa: E402
from examples.studies.top_k import data as top_k_data  # noqa: E402
from examples.studies.top_k import methods as top_k_methods  # noqa: E402
from examples.studies.top_k import report as top_k_report  # noqa: E402
from examples.studies.top_k import study as top_k  # noqa: E402
from mlc_losses.metrics import top_k_accuracy  # noqa: E402


@pytest.fixture(autouse=True)
def as_users_run():
    """The strict flags of the other tests are theirs: optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield


def run(tmp_path, *arguments):
    shared = ["--data", "digits:tail", "--rounds", "1", "--seeds", "2", "--runs", tmp_path / "runs"]
    shared += ["--figure", tmp_path / "figure.png", "--json", tmp_path / "records.json"]
    # wide, so that messages are not broken over lines
    runner = CliRunner(env={"COLUMNS": "500", "TERMINAL_WIDTH": "500", "NO_COLOR": "1"})
    return runner.invoke(top_k.app, [str(a) for a in (*shared, *arguments)])


@pytest.mark.slow("trains with every method")
def test_runs_resumes_and_reports(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n{}\nold\n{}\nafter\n".format(*top_k.MARKS))
    losses = ("--loss", "cross-entropy", "--loss", "noised", "--loss", "LDAM", "--into", page)
    result = run(tmp_path, *losses)
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "records.json").read_text())
    # K = 5 with both seeds, and for the loss with a K both again at 1 and 3: 10 classes have no 10
    assert len(records) == 2 + 2 + (2 + 4)
    assert {r["k"] for r in records if r["loss"] == "noised"} == {1, 3, 5}
    assert all(0 <= r["test"][str(r["k"])]["class mean"] <= 1 for r in records)
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "digits_tail: trained for K = 5" in text
    assert "Noised losses minus" not in text  # two seeds say nothing
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    # all is kept: nothing is trained any more
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    again = run(tmp_path, *losses, "--finished")
    assert again.exit_code == 0, again.output
    assert kept == {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    assert json.loads((tmp_path / "records.json").read_text()) == records


def test_wrong_arguments_are_named(tmp_path):
    assert "unknown loss 'hinge'; valid: cross-entropy" in run(tmp_path, "--loss", "hinge").output
    assert "nothing is finished" in run(tmp_path, "--finished").output


def test_every_loss_searches_as_many_settings():
    for name, method in top_k_methods.METHODS.items():
        assert len(top_k_methods.settings_to_search(method, top_k.RATES)) == 30, name


def test_accuracy_is_that_of_the_library():
    data = one_label.load("digits")
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (599, 10)).astype(float)  # with ties
    found = top_k_data.evaluated(scores, data.test_labels, data)
    for k in (1, 3, 5):
        expected = float(top_k_accuracy(scores, data.test_labels, k))
        np.testing.assert_allclose(found[str(k)]["accuracy"], expected)
    assert top_k_data.evaluated(scores * np.nan, data.test_labels, data) == {}


def test_images_and_texts_become_smaller():
    image = np.zeros((1, 28, 28))
    image[0, 4:6, 10:12] = 1.0
    small = top_k_data.smaller(image.reshape(1, -1))
    assert small.shape == (1, 196) and small[0, 2 * 14 + 5] == 1 and small.sum() == 1
    text = np.zeros((1, one_label.TEXT_COLUMNS))
    text[0, [3, 3 + one_label.TEXT_COLUMNS // 2]] = 1, 2
    assert top_k_data.smaller(text)[0, 3] == 3


def test_paired_table_marks_what_stands():
    def record(loss, seed, value):
        return {
            "data": "d",
            "loss": loss,
            "k": 5,
            "uses_k": True,
            "seed": seed,
            "criterion": "accuracy",
            "test": {"5": {"accuracy": value}},
        }

    wiggle = [0.0, 0.001, 0.002, 0.0, 0.001]
    records = [record("noised", i, 0.9 + w) for i, w in enumerate(wiggle)]
    records += [record("cross-entropy", i, 0.5) for i in range(5)]
    records += [record("focal", i, 0.9 + w) for i, w in enumerate(reversed(wiggle))]
    ((*_, to_entropy, to_focal),) = top_k_report.paired_table(records).rows
    assert to_entropy == "**+40.1** (100 / 0 / 0)"
    assert to_focal.startswith("**") and to_focal.endswith("(0 / 100 / 0)")
    records += [record("LDAM", i, 0.89 + 20 * w) for i, w in enumerate(wiggle)]
    assert "**" not in top_k_report.paired_table(records).rows[0][-1]


def test_seed_0_is_not_trained_again(monkeypatch, tmp_path):
    trained = []

    def counted(task, rows, name, k, setting, seed):
        trained.append((k, seed))
        part = {"5": {"accuracy": setting.rate}}
        return {"seconds": 1.0, "validation": part, "test": part, "setting": setting}

    monkeypatch.setattr(top_k, "trained", counted)
    data = one_label.load("digits")
    plan = top_k.Plan(seeds=3, other_seeds=0)
    task = top_k.make_task(data, plan)
    records = top_k.compare(task, ["noised"], plan, Runs(tmp_path), lambda what: None)
    assert trained == 30 * [(5, 0)] + [(5, 1), (5, 2)]
    assert [record["setting"].rate for record in records] == 3 * [0.1]
    assert records[0]["test"] == records[1]["test"]
