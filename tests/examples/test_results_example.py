"""The command that judges the papers' claims: its rule, its page, and records that are missing."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

NEEDED = "baycomp jax matplotlib optax optuna polars rich river safetensors scikit_posthocs scipy"
for needed in f"{NEEDED} typer xgboost".split():
    pytest.importorskip(needed)

import baycomp  # noqa: E402
import typer  # noqa: E402
from scipy.stats import ttest_rel  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from examples.studies import run_all as results  # noqa: E402
from examples.studies.claims import all_claims as claims  # noqa: E402
from examples.studies.claims import figure as claims_figure  # noqa: E402
from examples.studies.claims import page as claims_page  # noqa: E402
from examples.studies.claims import rule as claims_rule  # noqa: E402
from examples.studies.claims import runs as claims_runs  # noqa: E402
from examples.studies.claims.rule import Bars, Claim, Pairs, Run  # noqa: E402
from examples.studies.common import judging, statistics  # noqa: E402
from examples.studies.common.store import Runs, Unfinished  # noqa: E402

DATA = ("one", "two", "three")
WIGGLE = np.array([0.0, 0.004, 0.001, 0.003, 0.002])
TEST = Pairs("ours", "rival", "accuracy", DATA)


def runs_of(gaps, seeds=5, metric="accuracy"):
    """Runs in which ours is ahead of the rival by the gap of each data set, give or take."""
    found = []
    for data, gap in gaps.items():
        for seed in range(seeds):
            found.append(Run(data, "ours", seed, {metric: 0.5 + gap + WIGGLE[seed]}))
            found.append(Run(data, "rival", seed, {metric: 0.5}))
    return found


def noisy(data, seeds=5):
    """As often ahead as behind."""
    gaps = 0.02 * np.array([1, -1, 0.9, -1.1, 0.3])
    ours = [Run(data, "ours", s, {"accuracy": 0.5 + gaps[s]}) for s in range(seeds)]
    return ours + [Run(data, "rival", s, {"accuracy": 0.5}) for s in range(seeds)]


def judged(runs, *tests):
    claim = Claim("A claim", "Ours is better.", "nobody", "made up", tests or (TEST,))
    return claims_rule.judge(claim, [], runs)


def flat(data, seeds=5):
    """Ours and the rival differ by far less than a point."""
    ours = [Run(data, "ours", s, {"accuracy": 0.5 + WIGGLE[s] / 10}) for s in range(seeds)]
    return ours + [Run(data, "rival", s, {"accuracy": 0.5}) for s in range(seeds)]


@pytest.mark.parametrize(
    ("runs", "verdict", "outcomes"),
    [
        (runs_of(dict.fromkeys(DATA, 0.05)), "supported", ["ahead"] * 3),
        (
            runs_of({"one": 0.05, "two": 0.05, "three": -0.05}),
            "supported",  # on more than half
            ["ahead", "ahead", "behind"],
        ),
        (runs_of({"one": 0.05, "two": -0.05}), "undecided", ["ahead", "behind"]),
        (flat("one") + flat("two") + noisy("three"), "equivalent", ["equal", "equal", "open"]),
        (runs_of({"one": 0.05}) + noisy("two") + noisy("three"), "undecided",
         ["ahead"] + ["open"] * 2),
        (noisy("one") + noisy("two"), "undecided", ["open"] * 2),
        (runs_of(dict.fromkeys(DATA, -0.05)), "contradicted", ["behind"] * 3),
        (runs_of({"one": 0.05}, seeds=2), "undecided", ["open"]),
        (runs_of({"one": 0.05}, seeds=1), "not run", []),
        ([], "not run", []),
    ],
)  # fmt: skip
def test_every_verdict_is_reached(runs, verdict, outcomes):
    one = judged(runs)
    assert one.verdict == verdict
    assert [cell.outcome for cell in one.parts[0].cells] == outcomes


def test_lower_metrics_are_turned_round():
    (test,) = claims_rule.pairs("ours", "rival", "ranking loss", ("one",))
    runs = runs_of({"one": -0.05}, metric="ranking loss")
    assert test.lower and judged(runs, test).verdict == "supported"
    assert claims_rule.pairs("ours", "rival", "Hamming loss at 0", ("one",))[0].lower
    assert not claims_rule.pairs("ours", "rival", "micro-F1", ("one",))[0].lower


def test_p_is_that_of_scipy_and_holm_of_its_definition():
    values = np.array([0.3, -0.1, 0.2, 0.4])
    np.testing.assert_allclose(statistics.paired_p(values), ttest_rel(values, 0 * values).pvalue)
    # equal differences, but for rounding
    assert statistics.paired_p(np.array([0.1, 0.1, 0.3 - 0.2])) == 1.0
    assert statistics.paired_p(np.zeros(3)) == 1.0
    found = statistics.holm([0.04, 0.01, 0.03, 0.5])
    np.testing.assert_allclose(found, [0.09, 0.04, 0.09, 0.5])
    assert statistics.holm([0.6, 0.7]) == [1.0, 1.0]


def test_seeds_are_judged_as_baycomp_judges_folds():
    """Five seeds that hold out a fifth each have the correction of one run of five folds."""
    values = np.array([0.03, 0.01, 0.02, 0.05, -0.01])
    worse, same, better = baycomp.CorrelatedTTest.probs(0 * values, values, rope=judging.ROPE)
    answer = judging.over_seeds(values)
    np.testing.assert_allclose(answer[1:], [better, same, worse], rtol=1e-12)
    assert answer.verdict == "undecided"
    # two runs of five folds
    twice = np.concatenate([values, values + 0.01])
    _, _, better = baycomp.CorrelatedTTest.probs(0 * twice, twice, rope=judging.ROPE, runs=2)
    assert judging.over_seeds(twice).better == pytest.approx(better, rel=1e-12)
    # equal differences are sure of what they show
    assert judging.over_seeds(np.full(3, 0.02)).verdict == "better"
    assert judging.over_seeds(np.zeros(3)).verdict == "equivalent"
    assert judging.over_seeds(np.full(2, 0.02)).verdict == "undecided"


def test_sure_is_what_the_rule_says_it_is():
    for seeds in (3, 5, 10):
        shape = np.arange(seeds) - (seeds - 1) / 2
        shape /= shape.std(ddof=1)
        needed = judging.least_spreads(seeds)
        for times, verdict in ((1.001, "better"), (0.999, "undecided")):
            values = judging.ROPE + 0.02 * (shape + times * needed)
            assert judging.over_seeds(values).verdict == verdict


@pytest.mark.parametrize("sets", [1, 2, 3, 4, 5])
def test_more_than_half_is_counted_over_all_outcomes(sets):
    p = np.random.default_rng(sets).dirichlet(np.ones(3), sets)
    answers = [judging.Answer("", *row) for row in p]
    expected = np.zeros(3)
    for outcome in itertools.product(range(3), repeat=sets):
        chance = np.prod([p[i, o] for i, o in enumerate(outcome)])
        for kind in range(3):
            expected[kind] += chance * (2 * outcome.count(kind) > sets)
    np.testing.assert_allclose(judging.most(answers)[1:], expected, atol=1e-12)


def test_many_sets_are_judged_by_signed_ranks():
    few = {f"d{i}": np.full(3, 0.03) for i in range(judging.FEWEST_SETS)}
    means = np.full(judging.FEWEST_SETS, 0.03)
    assert judging.judge(few) == judging.over_sets(means, 0 * means)
    assert judging.judge(few).verdict == "better" and judging.judge({}).verdict == "undecided"


def test_only_common_seeds_are_paired():
    runs = [Run("one", "ours", s, {"accuracy": 1.0 + s}) for s in (0, 2, 3)]
    runs += [Run("one", "rival", s, {"accuracy": 0.0}) for s in (3, 1, 0)]
    np.testing.assert_array_equal(claims_rule.differences(runs, TEST)["one"], [1.0, 4.0])
    runs.append(Run("one", "rival", 2, {"accuracy": float("nan")}))  # diverged
    assert len(claims_rule.differences(runs, TEST)["one"]) == 2
    assert judged(runs).parts[0].missing == ["two", "three"]


def test_costs_and_claims_of_several_tests():
    def bars(limit):
        return Bars("cost", lambda records: {"small": 1.0, "large": 3.0}, limit)

    verdicts = {limit: judged([], bars(limit)).verdict for limit in (0.5, 2.0, 4.0)}
    assert verdicts == {0.5: "supported", 2.0: "undecided", 4.0: "contradicted"}
    most = bars(2.0)._replace(at_most=True, limit=3.0)
    assert judged([], most).verdict == "supported"
    # a claim is as strong as its weakest test
    assert judged([], bars(0.5), bars(4.0)).verdict == "contradicted"
    assert judged([], bars(0.5), bars(2.0)).verdict == "undecided"
    order = ["contradicted", "undecided", "equivalent", "supported"]
    for place, verdict in enumerate(order):
        assert claims_rule.combined(order[place:][::-1]) == verdict
    assert judged([], bars(None)).verdict == "not run"  # noted, judges nothing
    assert judged([], bars(0.5), bars(None), TEST).verdict == "supported"  # TEST has no runs


def test_page_says_what_was_found():
    one = judged(runs_of({"one": 0.05, "two": -0.05}, seeds=3))
    text = claims_page.page([one], {"made up": "made_up.md"}, {"made up": "small."})
    text = text.replace("\n", " ")
    assert "| [A claim](#a-claim) | **undecided** | 1 ahead, 0 equal, 0 open, 1 behind<br>" in text
    assert "**+5.2 ± 0.2** (100 / 0 / 0)" in text and "[made up](made_up.md)" in text
    assert "3 seeds: a mean must lie beyond the region by 2.2 standard deviations." in text
    assert "Data sets disagree" in text and "Not run, or not with two seeds: three." in text
    assert "Of 1 claims: 1 undecided." in text
    assert "2.2 with 3, 1.4 with 5, 1.1 with 10" in text  # of the rule
    table = claims_page.verdict_table([one], "index.md")
    assert "| [A claim](index.md#a-claim) | undecided | 1 ahead" in table


def synthetic_records(docs: Path) -> None:
    """Of two comparisons; all others are missing."""
    rng = np.random.default_rng(0)
    records = [
        {"data": f"{name}, 100 %", "loss": loss, "seed": seed, "rate": 0.01}
        | {"test": {m: float(rng.random()) for m in ("micro-F1", "macro-F1", "Hamming loss")}}
        for name in ("scene", "bibtex")
        for loss in ("binary_cross_entropy", "supcon", "mscrg", "mscwrg")
        for seed in range(3)
    ]
    for record in records:
        record["test"] |= {"mAP": 0.5 + 0.01 * record["seed"], "ranking loss": 0.1}
    (docs / "contrastive.json").write_bytes(results.one_per_line(records))
    extreme = [
        {"labels": 1_000_000, "result": {"peak GiB": 1.5, "P@1": 0.5, "P@3": 0.4, "P@5": 0.3}}
    ]
    (docs / "extreme.json").write_bytes(results.one_per_line(extreme))


def invoke(*arguments):
    runner = CliRunner(env={"COLUMNS": "500", "TERMINAL_WIDTH": "500", "NO_COLOR": "1"})
    return runner.invoke(results.app, [str(a) for a in arguments])


def test_command_renders_the_records_there_are_and_again_the_same(tmp_path):
    synthetic_records(tmp_path)
    page = tmp_path / "contrastive.md"
    start, end = results.COMPARISONS["contrastive"].marks
    verdicts = "\nstale\n".join(results.VERDICT_MARKS)
    page.write_text(f"before\n{verdicts}\n{start}\nold\n{end}\nafter\n")
    options = ("--finished", "--docs", tmp_path)
    result = invoke(*options)
    assert result.exit_code == 0, result.output
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    index = written["index.md"].decode()
    missing = [c for c in claims.CLAIMS if c.comparison not in ("contrastive", "extreme")]
    assert missing and index.count("**Verdict: not run.**") == len(missing) + 1  # prototypes
    assert "peak memory of the process: 1.5 GiB, bar met at 1 of 1" in index
    assert "P@1 0.5, P@3 0.4, P@5 0.3" in index
    assert "[contrastive](contrastive.md)" in index and "](top_k.md)" not in index
    assert written["claims.png"].startswith(b"\x89PNG")
    assert b"| `mscrg` |" in written["contrastive.md"] and b"old" not in written["contrastive.md"]
    assert b"(index.md#the-regularised-gradient-helps)" in written["contrastive.md"]
    assert b"stale" not in written["contrastive.md"]
    assert invoke(*options).exit_code == 0
    assert written == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.slow("renders every page, that of the large study with its statistics too")
def test_pages_are_what_the_records_say(tmp_path):
    """Tables, verdicts and advice are those that the command writes from the records there are."""
    docs = results.ROOT / "docs"
    pages = [*docs.glob("*.md"), *docs.glob("results/*.md")]
    for path in [*pages, *docs.glob("results/*.json")]:
        copy = tmp_path / path.relative_to(docs)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    shutil.copytree(docs / "results" / "which_loss", tmp_path / "results" / "which_loss")
    result = invoke("--finished", "--docs", tmp_path / "results")
    assert result.exit_code == 0, result.output
    for path in pages:
        written = (tmp_path / path.relative_to(docs)).read_text("utf-8")
        assert written == path.read_text("utf-8"), f"{path}: run run_all --finished"


def test_command_takes_new_records_and_keeps_old_ones(tmp_path, monkeypatch):
    synthetic_records(tmp_path)
    kept = (tmp_path / "contrastive.json").read_bytes()
    report = {"peak GiB": 13.0, "P@1": 0.5, "P@3": 0.4, "P@5": 0.3}

    def run(place, path):
        assert place.finished and place.runs == tmp_path / "runs"
        path.write_text(json.dumps([{"labels": 1_000_000, "result": report, "secret": 1}]))

    made = results.Comparison(run, dropped=("secret",))
    monkeypatch.setitem(results.COMPARISONS, "extreme", made)
    shared = ("--finished", "--docs", tmp_path, "--data-dir", tmp_path, "--runs", tmp_path / "runs")
    result = invoke(*shared, "--only", "extreme")
    assert result.exit_code == 0, result.output
    assert b"secret" not in (tmp_path / "extreme.json").read_bytes()
    assert "13 GiB, bar met at 0 of 1" in (tmp_path / "index.md").read_text()
    monkeypatch.undo()
    # no run of it is finished, so what is there stays
    result = invoke(*shared, "--only", "extreme")
    assert "0 runs are finished and packed, 1 or more are missing" in result.output
    assert "13 GiB" in (tmp_path / "index.md").read_text()
    assert (tmp_path / "contrastive.json").read_bytes() == kept


class Study:
    """Three runs, the last of which depends on the second; a figure, and records of what is there.

    With more than one `seeds` the key is another one.
    """

    def __init__(self, seeds=1):
        self.seeds, self.drawn = seeds, 0

    def main(self, data_dir, runs, json_, finished, figure):
        if not data_dir.exists():
            raise typer.BadParameter(f"{data_dir} is not there")
        kept, records = Runs(runs, finished), []
        for name in ("first", "second", "third"):
            if (found := kept.get(name, {"seeds": self.seeds}, self.compute(name))) is None:
                break
            records.append({"name": name, "value": found})
        if not records:
            raise Unfinished(kept)
        self.drawn += 1
        figure.write_bytes(b"\x89PNG %d" % self.drawn)
        json_.write_text(json.dumps(records))
        return kept

    def compute(self, name):
        return lambda: f"{name} of {self.seeds}"


@pytest.fixture
def brought_up(tmp_path, monkeypatch):
    """The command on a study, in one folder of results; the names that are packed are returned."""

    def bring_up(study, *options, runs="runs", data=tmp_path):
        run = results.command("small", study.main, figure="small.png")
        monkeypatch.setitem(results.COMPARISONS, "small", results.Comparison(run))
        shared = ("--only", "small", "--docs", tmp_path, "--runs", tmp_path / runs)
        result = invoke(*shared, "--data-dir", data, *options)
        assert result.exit_code == 0, result.output
        table = tmp_path / "finished_runs" / "small.jsonl.gz"
        lines = gzip.decompress(table.read_bytes()).splitlines() if table.exists() else []
        return result.output, [json.loads(line)[0] for line in lines]

    return bring_up


def test_an_unfinished_study_is_packed_and_its_results_stay(tmp_path, brought_up):
    _, packed = brought_up(Study(seeds=3))
    old = {name: (tmp_path / name).read_bytes() for name in ("small.json", "small.png")}
    assert packed == ["first.json", "second.json", "third.json"]
    # new keys: of three runs two are finished, and those of the old keys drop out
    study = Study(seeds=10)
    kept = Runs(tmp_path / "runs" / "small")
    for name in ("first", "second"):
        kept.get(name, {"seeds": 10}, study.compute(name))
    output, packed = brought_up(study, "--finished")
    assert "small: 2 runs are finished and packed, 1 or more are missing" in output
    assert packed == ["first.json", "second.json"]
    assert old == {name: (tmp_path / name).read_bytes() for name in old}
    # on another machine only the third is computed
    study.compute = {"third": lambda: "third of 10"}.get
    _, packed = brought_up(study, runs="elsewhere")
    assert packed == ["first.json", "second.json", "third.json"]
    records = json.loads((tmp_path / "small.json").read_text())
    assert [record["value"] for record in records] == [f"{n[:-5]} of 10" for n in packed]
    assert (tmp_path / "small.png").read_bytes() != old["small.png"]


def test_what_is_packed_goes_only_where_the_study_was_seen(tmp_path, brought_up):
    _, packed = brought_up(Study())
    assert packed == ["first.json", "second.json", "third.json"]
    # without its data it cannot say what it wants
    output, packed = brought_up(Study(), "--finished", data=tmp_path / "none")
    # lines are broken where they are too long
    assert "is not there; all beside the page stays" in " ".join(output.split())
    assert packed == ["first.json", "second.json", "third.json"]
    output, packed = brought_up(Study(seeds=10), "--finished")
    assert "small: 0 runs are finished and packed, 1 or more are missing" in output
    assert packed == []
    assert "of 1" in (tmp_path / "small.json").read_text()


def test_wrong_arguments_are_named():
    assert "unknown comparison 'topk'; valid: first_release" in invoke("--only", "topk").output
    assert "is needed to run the comparisons" in invoke().output


def test_claims_fit_the_comparisons():
    for claim in claims.CLAIMS:
        assert claim.comparison in results.COMPARISONS and claim.comparison in claims.CONDITIONS
        if any(isinstance(test, Pairs) for test in claim.tests):
            assert claim.comparison in claims_runs.RUNS
    names = [claims_page.slug(claim.name) for claim in claims.CLAIMS]
    assert len(set(names)) == len(names)


def test_records_become_runs():
    result = {"sets": 3, "unseen": 0.1, "zlpr": {"micro-F1": 0.6}}
    assert claims_runs.powersets({"quality": {"tiny": [result]}}) == [
        Run("tiny", "zlpr", 0, {"micro-F1": 0.6})
    ]
    record = {"data": "d", "method": "m", "k": 5.0, "seed": 1, "equal": {"few": 0.2, "many": 0.5}}
    (run,) = claims_runs.average_k([record, record | {"k": 2.0}])
    assert run.numbers[claims_runs.RARITY] == pytest.approx(-0.3)
    record = {"data": "d", "loss": "noised", "k": 5, "seed": 0, "test": {"5": {"accuracy": 0.7}}}
    diverged = record | {"test": {}}
    assert claims_runs.top_k([record, diverged, record | {"k": 1}]) == [
        Run("d", "noised", 0, {"top-5 accuracy": 0.7})
    ]


def test_costs_are_ratios():
    costs = {
        f"synthetic {sets}": {
            "sets": sets,
            "zlpr": {"parameters": 10},
            "powerset, likeliest set": {"parameters": sets},
        }
        for sets in (40, 20)
    }
    found = claims_runs.powerset_cost("parameters")({"costs": costs})
    assert list(found.items()) == [("synthetic, 20 sets", 2.0), ("synthetic, 40 sets", 4.0)]
    cells = {"a | L=100 | k=5": {"ms": 3.0}, "b | L=100 | k=5": {"ms": 2.0}}
    cells |= {"a | L=100 | k=20": {"ms": 3.0}, "b | L=100 | k=20": {"failed": "over 300 s"}}
    ratio = claims_runs.time_ratio("a | L={L} | k={k}", "b | L={L} | k={k}")
    assert ratio(cells) == {"L = 100, k = 5": 1.5}


def test_figure_shows_differences_from_the_largest_down():
    one = judged(runs_of({"one": 0.01, "two": -0.05, "three": 0.05}))
    assert [cell.data for cell in claims_figure.differences(one)] == ["three", "one", "two"]
    assert claims_figure.forest([one, judged([])]).startswith(b"\x89PNG")
    assert claims_figure.forest([]).startswith(b"\x89PNG")
