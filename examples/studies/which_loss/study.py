"""The plan of the study, and its work: search, then the folds of each data set and loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from examples.studies.which_loss import data_sets, losses
from examples.studies.which_loss.measures import measured
from examples.studies.which_loss.records import Records
from examples.studies.which_loss.search import chosen, search
from examples.studies.which_loss.splits import Rows, row_numbers, rows_of
from examples.studies.which_loss.training import (
    MOST_ROUNDS,
    Parts,
    advance,
    parts_of,
    scores,
    start,
)


class Block(NamedTuple):
    """One data set and loss: so many trials of search, then so many folds."""

    data: str
    loss: str
    trials: int
    folds: int


class Size(NamedTuple):
    """Depth of the main table, and of everything else."""

    trials: int
    folds: int
    other_trials: int
    other_folds: int


FULL = Size(16, 10, 8, 3)
SMALL = Size(2, 2, 2, 2)
# what a row says of its training, before what it says of its decisions
RUN_COLUMNS = (
    "loss",
    "fold",
    "setting_of_trial",
    "rounds",
    "best_round",
    "validation",
    "seconds",
)


def plan(names: Sequence[str], size: Size, appendix: bool) -> list[Block]:
    """Blocks in order: all main losses of one data set, then of the next, then the appendix."""

    def block(data: str, loss: str) -> Block:
        main = loss in losses.MAIN and data not in data_sets.LARGEST
        trials = size.trials if main else size.other_trials
        return Block(data, loss, trials, size.folds if main else size.other_folds)

    main = [block(data, loss) for data in names for loss in losses.MAIN]
    if not appendix:
        return main
    small = [name for name in names if name not in data_sets.LARGEST]
    return main + [block(data, loss) for data in small for loss in losses.APPENDIX]


def missing(block: Block, records: Records) -> tuple[int, list[int]]:
    """How many trials, and which folds, are still to be run."""
    trials = sum(trial["loss"] == block.loss for trial in records.trials(block.data))
    done = {run["fold"] for run in records.runs(block.data) if run["loss"] == block.loss}
    return max(0, block.trials - trials), [f for f in range(block.folds) if f not in done]


def is_done(block: Block, records: Records) -> bool:
    return missing(block, records) == (0, [])


class Work:
    """Runs blocks; the rows of the last folds are kept in memory."""

    def __init__(self, records: Records, folder: Path | None, scores: Path | None = None) -> None:
        self.records = records
        self.scores = scores
        self._data = lru_cache(1)(lambda name: data_sets.load(name, folder))
        self._rows = lru_cache(10)(self._load_rows)
        self._compiled_for = ""

    def steps(self, block: Block) -> Iterator[str]:
        """Do one run after the other; a description of each, after it is kept."""
        if self._compiled_for not in ("", block.data):  # its programs have other shapes
            jax.clear_caches()
            self._rows.cache_clear()
        self._compiled_for = block.data
        _, parts = self._rows(block.data, 0)
        kept = [t for t in self.records.trials(block.data) if t["loss"] == block.loss]
        next_trial = search(block.data, block.loss, parts, block.trials, kept)
        while trial := next_trial():
            self.records.add_trial(block.data, trial)
            kept.append(trial)
            yield f"trial {trial['trial']}"
        best = chosen(kept)
        for fold in missing(block, self.records)[1]:
            self.records.add_runs(block.data, self._run(block, fold, best))
            yield f"fold {fold}"

    def _run(self, block: Block, fold: int, best: dict[str, Any]) -> list[dict[str, Any]]:
        began = time.process_time()
        rows, parts = self._rows(block.data, fold)
        state = advance(start(parts, fold), parts, block.loss, best["setting"], MOST_ROUNDS)
        validation, test = (scores(state.best, part[0]) for part in (rows.validation, rows.test))
        seconds = time.process_time() - began
        shared = {
            "loss": block.loss,
            "fold": fold,
            "setting_of_trial": best["trial"],
            "rounds": int(state.round),
            "best_round": int(state.best_round),
            "validation": float(state.best_value),
            "seconds": seconds,
        }
        if self.scores:
            self.scores.mkdir(parents=True, exist_ok=True)
            path = self.scores / f"{block.data}-{block.loss}-{fold}.npz"
            np.savez_compressed(path, validation=validation, test=test)
        found = measured(validation, rows.validation[1], test, rows.test[1])
        return [shared | row for row in found]

    def _load_rows(self, name: str, fold: int) -> tuple[Rows, Parts]:
        rows = rows_of(self._data(name), fold)
        return rows, parts_of(rows)


def run(
    blocks: Sequence[Block],
    records: Records,
    folder: Path | None,
    after: Callable[[Block, str], None],
    until: Callable[[], bool] = lambda: False,
    scores: Path | None = None,
) -> None:
    """All blocks whose data set no other process holds; stops early where `until` says so."""
    work = Work(records, folder, scores)
    names = list(dict.fromkeys((b.data, b.loss in losses.APPENDIX) for b in blocks))
    for name, appendix in names:
        with records.locked(name) as held:
            if not held:
                continue
            for block in blocks:
                if (block.data, block.loss in losses.APPENDIX) != (name, appendix):
                    continue
                if is_done(block, records):
                    continue
                for what in work.steps(block):
                    after(block, what)
                    if until():
                        return


def measure_again(records: Records, folder: Path | None, scores: Path) -> None:
    """Decide and measure all runs anew whose scores are kept: for new rules and metrics."""
    for name in records.names():
        data = data_sets.load(name, folder)
        with records.locked(name) as held:
            if not held:
                continue
            rows, done = [], set()
            for run in records.runs(name):
                key = run["loss"], run["fold"]
                path = scores / f"{name}-{run['loss']}-{run['fold']}.npz"
                if not path.is_file():
                    rows.append(run)
                elif key not in done:
                    done.add(key)
                    shared = {column: run[column] for column in RUN_COLUMNS}
                    rows += [shared | row for row in _measured(data, run["fold"], path)]
            records.replace_runs(name, rows)


def _measured(data: data_sets.DataSet, fold: int, path: Path) -> list[dict[str, Any]]:
    parts = row_numbers(data, fold)
    with np.load(path, allow_pickle=False) as kept:
        return measured(
            kept["validation"], data.targets[parts[1]], kept["test"], data.targets[parts[2]]
        )
