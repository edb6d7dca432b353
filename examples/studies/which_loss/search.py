"""The search of a loss's setting on validation rows: Optuna's TPE with successive halving.

Each trial is kept as soon as it is finished. A search that was cut off goes on as if it had not
been: the sampler of a trial is seeded by its number.
"""

from __future__ import annotations

import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import optuna

from examples.studies.which_loss.losses import Range, defaults, space
from examples.studies.which_loss.training import MOST_ROUNDS, Parts, advance, has_stopped, start

RUNGS = (6, 18)
Trial = dict[str, Any]
optuna.logging.set_verbosity(optuna.logging.WARNING)


def search(
    data: str, name: str, parts: Parts, budget: int, kept: Sequence[Trial]
) -> Callable[[], Trial | None]:
    """A function that runs the next trial and returns its record; None when all are done."""
    study = optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(RUNGS[0], RUNGS[1] // RUNGS[0]),
    )
    done = sorted(kept, key=lambda trial: trial["trial"])
    for trial in done:
        study.add_trial(_as_optuna(name, trial))

    def next_trial() -> Trial | None:
        number = len(study.trials)
        if number >= budget:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=6,
                multivariate=True,
                seed=zlib.crc32(f"{data} {name} {number}".encode()),
            )
        if number == 0:
            study.enqueue_trial(defaults(name))
        trial = study.ask(_distributions(name))
        return _run(study, trial, name, parts)

    return next_trial


def chosen(trials: Sequence[Trial]) -> Trial:
    """The trial that was best on the validation rows."""
    return max(trials, key=lambda trial: trial["value"])


def _run(study: optuna.Study, trial: optuna.Trial, name: str, parts: Parts) -> Trial:
    began = time.process_time()
    state, values, pruned = start(parts, seed=0), [], False
    for rung in (*RUNGS, MOST_ROUNDS):
        state = advance(state, parts, name, trial.params, rung)
        values.append(float(state.best_value))
        if has_stopped(state):
            break
        trial.report(values[-1], rung)
        if pruned := trial.should_prune():
            break
    record = {
        "loss": name,
        "trial": trial.number,
        "setting": dict(trial.params),
        "value": values[-1],
        "values": values,
        "rounds": int(state.round),
        "pruned": pruned,
        "seconds": time.process_time() - began,
    }
    if pruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(trial, values[-1])
    return record


def _distributions(name: str) -> dict[str, optuna.distributions.FloatDistribution]:
    def of(found: Range) -> optuna.distributions.FloatDistribution:
        return optuna.distributions.FloatDistribution(found.low, found.high, log=found.log)

    return {key: of(found) for key, found in space(name).items()}


def _as_optuna(name: str, trial: Trial) -> optuna.trial.FrozenTrial:
    pruned = trial["pruned"]
    reported = trial["values"] if pruned else trial["values"][:-1]
    rungs = dict(zip(RUNGS, reported, strict=False))
    state = optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=state.PRUNED if pruned else state.COMPLETE,
        value=trial["values"][-1],
        params=trial["setting"],
        distributions=_distributions(name),
        intermediate_values=rungs,
        # where the pruner keeps which rung a trial reached
        system_attrs={f"completed_rung_{i}": value for i, value in enumerate(rungs.values())},
    )
