"""The study of losses: its engine on 60 rows, resuming, its statistics on known tables."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

pytest.importorskip("optuna")
pytest.importorskip("baycomp")
jax = pytest.importorskip("jax")

from examples.studies.common import judging  # noqa: E402
from examples.studies.which_loss import data_sets, losses, measures, splits, statistics, study  # noqa: E402
from examples.studies.which_loss import training as engine  # noqa: E402
from examples.studies.which_loss.records import Records  # noqa: E402
from examples.studies.which_loss.stopping import criterion, validation_targets  # noqa: E402


def sixty_rows(name="sixty"):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5)).astype(np.float32)
    targets = features @ rng.normal(size=(5, 4)) + 0.3 > 0
    return data_sets.DataSet(name, features, targets)


@pytest.fixture(autouse=True)
def user_settings():
    """The study's precision, not the stricter one of the library's tests."""
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield


@pytest.fixture
def bundled(monkeypatch):
    monkeypatch.setitem(data_sets.BUNDLED, "sixty", sixty_rows)


@pytest.mark.parametrize("n_train", [0, 40])
def test_no_test_row_is_used_before_the_test(n_train):
    data = sixty_rows()._replace(n_train=n_train)
    first = splits.row_numbers(data, 0)[1]
    for fold in range(4):
        train, validation, test = map(set, splits.row_numbers(data, fold))
        assert not train & validation and not train & test and not validation & test
        assert not test & set(first)  # the search chose on these rows


def test_two_folds_test_each_row_once():
    data = sixty_rows()
    tests = [splits.row_numbers(data, fold)[2] for fold in (2, 3)]
    validation = splits.row_numbers(data, 2)[1]
    np.testing.assert_array_equal(np.sort(np.concatenate([*tests, validation])), np.arange(60))


def test_criterion_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(30, 6)).astype(np.float32)
    targets = rng.random((30, 6)) < 0.3
    targets[0], targets[:, 5] = False, False
    precision, recall, _ = sklearn_metrics.precision_recall_curve(targets.ravel(), scores.ravel())
    f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-9))
    lrap = sklearn_metrics.label_ranking_average_precision_score(targets, scores)
    macro = sklearn_metrics.average_precision_score(targets[:, :5], scores[:, :5])
    found = criterion(jax.numpy.asarray(scores), validation_targets(targets))
    np.testing.assert_allclose(found, (f1 + lrap + macro) / 3, rtol=1e-5)
    assert criterion(jax.numpy.full((30, 6), jax.numpy.nan), validation_targets(targets)) == -1


def test_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    scores = np.round(rng.normal(size=(40, 5)), 1).astype(np.float32)
    targets = rng.random((40, 5)) < 0.4
    zero = measures.measured(scores, targets, scores, targets)[0]
    assert zero["rule"] == "zero"
    expected = sklearn_metrics.roc_auc_score(targets, scores)
    np.testing.assert_allclose(zero["auroc"], expected, rtol=1e-6)
    np.testing.assert_allclose(
        zero["macro_f1"], sklearn_metrics.f1_score(targets, scores > 0, average="macro")
    )


def test_calibration_error_of_the_frequency_is_zero():
    targets = np.tile([True, False, False, False], 30 * 15).reshape(-1, 4)
    assert measures.calibration_error(np.full(targets.shape, 0.25), targets) < 1e-9
    assert abs(measures.calibration_error(np.full(targets.shape, 0.75), targets) - 0.5) < 1e-9


def test_training_goes_on_where_it_stopped():
    rows = splits.rows_of(sixty_rows(), 0)
    parts, setting = engine.parts_of(rows), losses.defaults("zlpr")
    once = engine.advance(engine.start(parts, 0), parts, "zlpr", setting, 12)
    twice = engine.start(parts, 0)
    for to in (5, 12):
        twice = engine.advance(twice, parts, "zlpr", setting, to)
    np.testing.assert_array_equal(once.best["hidden"], twice.best["hidden"])
    assert once.best_value > 0.8
    assert int(once.round) - int(once.best_round) <= engine.PATIENCE


@pytest.mark.usefixtures("bundled")
def test_an_interrupted_study_ends_like_one_that_was_not(tmp_path):
    blocks = [study.Block("sixty", "binary_cross_entropy", 8, 2)]
    whole, parts = Records(tmp_path / "whole"), Records(tmp_path / "parts")
    study.run(blocks, whole, None, lambda *_: None, scores=tmp_path / "scores")
    steps = 0
    while not study.is_done(blocks[0], parts):
        study.run(blocks, parts, None, lambda *_: None, lambda: True)  # one run, then stop
        steps += 1
    assert steps == 10

    def without_time(rows):
        return [{key: row[key] for key in row if key != "seconds"} for row in rows]

    for table in ("runs", "trials"):
        found, expected = (getattr(records, table)("sixty") for records in (parts, whole))
        assert without_time(found) == without_time(expected)
    study.run(blocks, whole, None, lambda *_: pytest.fail("all was done"))
    measured = whole.runs("sixty")
    whole.replace_runs("sixty", [row | {"micro_f1": 0.0} for row in measured])
    study.measure_again(whole, None, tmp_path / "scores")
    assert whole.runs("sixty") == measured


def test_a_data_set_belongs_to_one_process(tmp_path):
    with Records(tmp_path).locked("yeast") as first, Records(tmp_path).locked("yeast") as second:
        assert first and not second


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.05, "better"), (-0.05, "worse"), (0.001, "equivalent")]
)
def test_a_constant_difference_is_seen(shift, verdict):
    baseline = np.linspace(0.3, 0.9, 14)
    assert judging.over_sets(baseline + shift, baseline).verdict == verdict


def test_few_noisy_sets_are_undecided():
    baseline = np.linspace(0.3, 0.9, 4)
    values = baseline + np.array([0.05, -0.04, 0.03, -0.01])
    assert judging.over_sets(values, baseline).verdict == "undecided"


def test_critical_difference_of_the_published_table():
    # Demšar 2006, section 3.2.2: 5 classifiers on 30 sets have 2.728 * sqrt(5 * 6 / (6 * 30))
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        np.random.default_rng(0).random((30, 5)) + np.arange(5), columns=list("abcde")
    )
    found = statistics.ranking(table)
    assert found.critical_difference == pytest.approx(2.728 * (30 / 180) ** 0.5, abs=1e-3)
    assert list(found.ranks.index) == list("edcba")
    assert found.p < 1e-6


@pytest.mark.slow("draws all figures of the page")
def test_page_of_complete_sets_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "SAMPLES", 100)
    pytest.importorskip("scikit_posthocs")
    from examples.studies.which_loss import answers
    from examples.studies.which_loss.page import render

    # its simulation takes seconds, and has a test of its own
    monkeypatch.setattr(answers, "least_difference", lambda spread, sets: spread)
    records, rng = Records(tmp_path), np.random.default_rng(0)
    names = data_sets.MAIN[:9]
    metrics = ["micro_f1", "macro_f1", "samples_f1", "subset_accuracy", "hamming"]
    metrics += ["lrap", "map", "auroc", "ece", "ece_calibrated"]
    for name in names:
        rows = [
            {"loss": loss, "fold": fold, "rule": rule}
            | {metric: rng.normal(0.6 + 0.1 * (loss == "zlpr"), 0.001) for metric in metrics}
            for loss in losses.MAIN
            for fold in range(1 if (name, loss) == (names[0], "lsep") else 2)
            for rule in ("zero", "tuned", "per_label", "expected_f")
        ]
        training = {"rounds": 20, "best_round": 10}
        records.add_runs(name, [row | training for row in rows])
        for loss in losses.MAIN:
            setting = losses.defaults(loss) | {"dropout": 0.7 if loss == "hill" else 0.5}
            records.add_trial(name, {"loss": loss, "trial": 0, "value": 0.5, "setting": setting})
    render(records, tmp_path / "page.md", None, study.SMALL)
    text = (tmp_path / "page.md").read_text()
    assert f"Complete data sets: 8 of 14 ({', '.join(names[1:])})." in text
    against_cross_entropy = text.split("## Against `binary_cross_entropy`")[1]
    row = next(line for line in against_cross_entropy.splitlines() if line.startswith("| zlpr"))
    # 0.1 more is better, except for the Hamming loss and the calibration error
    verdicts = [cell.split()[0] for cell in row.split("|")[2:11]]
    better, worse = ["better"], ["worse"]
    assert verdicts == better * 4 + worse + better * 3 + worse
    counts = "of 90 comparisons of a loss in a metric 7 are better, 81 are equivalent, 2 are worse"
    assert counts in text
    better = "micro-F1, macro-F1, samples-F1, subset accuracy, LRAP, mAP, AUROC"
    assert f"Better: `zlpr` ({better})." in text
    assert "Of 176 trainings 0 were stopped by the cap" in text
    edges = text.split("## Settings at the edge")[1].split("## ")[0]
    assert [line.split("|")[1].strip() for line in edges.splitlines() if "|" in line][2:] == [
        "hill: dropout"
    ]


def test_more_sets_find_smaller_differences():
    few, many = (statistics.least_difference(0.02, sets) for sets in (6, 20))
    assert judging.ROPE < many < few
