"""The studies of decisions and of ranking per label in a reduced size."""

from __future__ import annotations

import json

import numpy as np
import pytest

for needed in ("jax", "matplotlib", "optax", "rich", "river", "safetensors", "scipy", "typer"):
    pytest.importorskip(needed)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from examples.data import MultiLabelData  # noqa: E402
from examples.studies.common import linear  # noqa: E402
from examples.studies.common.statistics import gap_cells  # noqa: E402
from examples.studies.decisions import study as decisions  # noqa: E402
from examples.studies.label_ranking import methods, report  # noqa: E402
from examples.studies.label_ranking import study as label_ranking  # noqa: E402
from mlc_losses import binary_cross_entropy, conformal_threshold, metrics  # noqa: E402

PLAN = linear.Plan(rows=40, columns=3, steps=20, checks=4, batch_size=8)


@pytest.fixture(autouse=True)
def as_users_run():
    """The strict flags of the other tests are theirs: optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield


def made(rows=60, labels=3):
    """Labels that a linear model can find."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    y = x @ rng.normal(size=(4, labels)) + 0.3 * rng.normal(size=(rows, labels)) > 0
    return MultiLabelData("made", x[:40], y[:40], x[40:], y[40:])


def archive(path):
    data = made()
    y = np.concatenate([data.train_targets, data.test_targets])
    fields = {
        "X": np.concatenate([data.train_features, data.test_features]),
        "Y_indptr": np.concatenate([[0], np.cumsum(y.sum(axis=1))]),
        "Y_indices": np.nonzero(y)[1],
        "Y_shape": np.array(y.shape),
        "n_train": np.array(40),
    }
    np.savez(path, **fields)
    return path


def run(study, tmp_path, *arguments):
    page = tmp_path / "page.md"
    if not page.exists():
        page.write_text("before\n{}\nreplaced\n{}\nafter\n".format(*study.MARKS))
    data = tmp_path / "made.npz"
    shared = ["--data", data if data.exists() else archive(data), "--steps", "12", "--seeds", "2"]
    shared += ["--runs", tmp_path / "runs", "--figure", tmp_path / "figure.png"]
    shared += ["--json", tmp_path / "records.json", "--into", page]
    runner = CliRunner(env={"COLUMNS": "500", "TERMINAL_WIDTH": "500", "NO_COLOR": "1"})
    result = runner.invoke(study.app, [str(a) for a in (*shared, *arguments)])
    return result, page.read_text()


def kept(tmp_path):
    return {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}


@pytest.mark.parametrize(
    ("study", "options", "title"),
    [
        (decisions, ["--splits", "3"], "Recall promised and reached"),
        (label_ranking, ["--loss", "binary_cross_entropy", "--loss", "zlpr"], "mAP on test rows"),
    ],
    ids=["decisions", "label_ranking"],
)
def test_runs_resumes_and_reports(tmp_path, study, options, title):
    result, page = run(study, tmp_path, *options)
    assert result.exit_code == 0, result.output
    assert page.startswith("before") and page.endswith("after\n") and "replaced" not in page
    assert title in page
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    records, files = json.loads((tmp_path / "records.json").read_text()), kept(tmp_path)
    again, same = run(study, tmp_path, *options, "--finished")
    assert again.exit_code == 0, again.output
    assert files == kept(tmp_path) and same == page
    assert json.loads((tmp_path / "records.json").read_text()) == records


def test_what_is_not_there_is_named(tmp_path):
    assert "unknown loss 'hinge'" in run(label_ranking, tmp_path, "--loss", "hinge")[0].output
    assert "nothing is finished" in run(label_ranking, tmp_path, "--finished")[0].output
    assert "nothing is finished" in run(decisions, tmp_path, "--finished")[0].output


def test_validation_and_training_rows_are_apart():
    for seed in range(3):
        batches, validation = linear.part(40, PLAN, seed)
        assert batches.shape == (4, 5, 8) and len(validation) == 12
        assert not set(batches.ravel()) & set(validation)
        # three epochs of three batches, and one batch more
        assert set(batches.reshape(-1, 8)[:3].ravel()) | set(validation) <= set(range(40))
        assert len(set(batches.reshape(-1, 8)[:3].ravel())) == 24


def test_kept_is_the_best_check_of_each_criterion():
    data = linear.smaller(made(), PLAN)
    assert data.train_features.shape == (40, 3) and data.test_features.shape == (20, 3)
    np.testing.assert_allclose((data.train_features**2).sum(axis=1).mean(), 1.0, rtol=1e-5)

    def criteria(scores, targets):
        loss = binary_cross_entropy(scores, targets).mean()
        return jnp.stack([-loss, loss, loss * jnp.nan])

    one = linear.part(40, PLAN, 0)
    runs = [(one, linear.Setting(0.3, 0.0)), (one, linear.Setting(0.3, 0.1))]
    trained = linear.train_linear(data, runs, binary_cross_entropy, criteria)
    x, y = data.train_features[one.validation], data.train_targets[one.validation]
    for i in range(2):
        best, worst, start = (
            float(binary_cross_entropy(trained.scores(i, c, x), y.astype(np.float32)).mean())
            for c in range(3)
        )
        np.testing.assert_allclose([-best, worst], trained.values[i, :2], rtol=1e-5)
        # a criterion that is never a number leaves the start
        assert best < worst and start == pytest.approx(3 * np.log(2))
    assert not np.allclose(trained.weights[0], trained.weights[1])


def test_promised_recall_is_measured_on_the_other_half():
    rng = np.random.default_rng(1)
    scores, targets = rng.normal(size=(60, 4)), rng.random((60, 4)) < 0.4
    targets[50] = False
    order = rng.permutation(60)
    reached, size = decisions.promised(scores, targets, 0.8, order)
    first, second = order[:30], order[30:]
    chosen = scores[second] >= conformal_threshold(scores[first], targets[first], recall=0.8)
    shares = [
        (c & t).sum() / t.sum() if t.any() else 1.0
        for c, t in zip(chosen, targets[second], strict=True)
    ]
    assert reached == pytest.approx(np.mean(shares)) and size == chosen.sum() / 30


def test_the_promise_holds_on_average_over_halves():
    rng = np.random.default_rng(2)
    targets = rng.random((60, 5)) < 0.5
    scores = targets + rng.normal(size=(60, 5))
    for recall, found in decisions.promises(scores, targets, 200, 0).items():
        # the standard error of the mean of 200
        assert found["reached"] > float(recall) - 3 * found["spread"] / 200**0.5


def test_the_hinge_is_a_surrogate_of_one_minus_auroc():
    cases = {case["scores"]: case for case in label_ranking.surrogate()}
    assert all(case["pairwise_hinge"] >= case["1 - AUROC"] for case in cases.values())
    for case in cases.values():
        pairs = [(p, n) for p in case["relevant"] for n in case["others"]]
        hinge = np.mean([max(0.0, 1.0 + n - p) for p, n in pairs])
        missed = np.mean([(n > p) + 0.5 * (n == p) for p, n in pairs])
        assert case["pairwise_hinge"] == pytest.approx(hinge)
        assert case["1 - AUROC"] == pytest.approx(missed)
    right, binary = cases["right, by the margin and more"], cases["scores of 0 and 1"]
    assert right["pairwise_hinge"] == right["1 - AUROC"] == 0.0
    # two values one margin apart: the hinge is 0, 1 or 2 where AUROC misses 0, 1/2 or 1
    assert binary["pairwise_hinge"] == 2 * binary["1 - AUROC"] == 1.0


def test_every_loss_searches_as_many_settings():
    assert {len(method.settings()) for method in methods.METHODS.values()} == {8}


def test_criteria_are_the_metrics_of_the_library():
    rng = np.random.default_rng(3)
    scores, targets = rng.normal(size=(30, 4)).astype(np.float32), rng.random((30, 4)) < 0.3
    found = label_ranking.criteria(jnp.asarray(scores), jnp.asarray(targets))
    expected = [
        metrics.average_precision(scores, targets, average="macro"),
        metrics.roc_auc(scores, targets, average="macro"),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_labels_that_cannot_be_measured_are_left_out():
    data = made(labels=4)
    data.train_targets[:, 1] = False
    data.test_targets[:, 2] = np.arange(20) < 4
    kept = label_ranking.with_positives(data)
    assert kept.train_targets.shape == (40, 2) and kept.test_targets.shape == (20, 2)


def test_differences_are_bold_where_they_stand():
    wiggle = np.array([0.0, 0.001, 0.002, 0.0, 0.001])
    clear, open_ = gap_cells([0.1 + wiggle, wiggle - wiggle.mean() + 1e-4])
    assert clear == "**+10.1** (< 0.001)" and "**" not in open_
    assert gap_cells([np.array([0.1])]) == ["+10.0"]
    records = [
        {"data": "d", "loss": a, "labels": 2, "positives": 3.0, "test": {"mAP": 0.5 + gap + w}}
        for a, gap in (("binary_cross_entropy", 0.0), ("zlpr", 0.2))
        for w in wiggle
    ]
    for record, noise in zip(records, [*wiggle, *wiggle[::-1]], strict=True):
        record["test"]["mAP"] += noise
    assert report.paired_table(records, "mAP").rows == [["d", "**+20.0** (< 0.001)"]]
