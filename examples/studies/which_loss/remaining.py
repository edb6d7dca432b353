"""How much of the plan is left, from the time that the kept runs took."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from examples.studies.which_loss.records import Records
from examples.studies.which_loss.study import Block

# seconds of one fold, measured on one core before the study; until a set has runs of its own
PILOT = {
    "flags": 0.1,
    "emotions": 0.2,
    "genbase": 0.3,
    "yeast": 0.3,
    "langlog": 1.0,
    "scene": 0.5,
    "locale_names": 2.0,
    "stackex_chess": 2.5,
    "corel5k": 6.0,
    "hpo_organs": 5.0,
    "ng20": 5.5,
    "rcv1sub1": 4.5,
    "bibtex": 6.0,
    "reuters21578_modapte90": 12.0,
    "hpo_diseases": 40.0,
    "delicious": 30.0,
    "finna_yso_en": 120.0,
}


def units(blocks: Sequence[Block], records: Records, *, done: bool) -> int:
    """Trials and folds of the plan, or those of them that are kept."""
    if not done:
        return sum(block.trials + block.folds for block in blocks)
    return sum(sum(kept) for kept in _kept(blocks, records))


def seconds_left(blocks: Sequence[Block], records: Records) -> float:
    """Processor time: each missing unit takes as long as the mean one of its data set so far."""
    left = 0.0
    each = {name: _seconds(name, records) for name in {block.data for block in blocks}}
    for block, (trials, folds) in zip(blocks, _kept(blocks, records), strict=True):
        trial, fold = each[block.data]
        left += (block.trials - trials) * trial + (block.folds - folds) * fold
    return left


def spoken(seconds: float) -> str:
    """Of processor time."""
    return (
        f"{seconds / 60:.0f} core minutes" if seconds < 7200 else f"{seconds / 3600:.1f} core hours"
    )


def _kept(blocks: Sequence[Block], records: Records) -> list[tuple[int, int]]:
    trials, folds = {}, {}
    for name in {block.data for block in blocks}:
        for trial in records.trials(name):
            trials.setdefault((name, trial["loss"]), set()).add(trial["trial"])
        for run in records.runs(name):
            folds.setdefault((name, run["loss"]), set()).add(run["fold"])
    return [
        (
            min(block.trials, len(trials.get((block.data, block.loss), ()))),
            min(block.folds, len(folds.get((block.data, block.loss), ()))),
        )
        for block in blocks
    ]


def _seconds(name: str, records: Records) -> tuple[float, float]:
    """Of a trial and of a fold."""
    pilot = PILOT.get(name, 5.0)
    trials = [trial["seconds"] for trial in records.trials(name)] or [pilot / 2]
    folds = [run["seconds"] for run in records.runs(name)] or [pilot]
    return mean(trials), mean(folds)
