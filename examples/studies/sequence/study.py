"""Label sets decoded as sequences: a small recurrent network beside zlpr on the same encoder.

    python -m examples.studies.sequence
    python -m examples.studies.sequence --data-dir DIR --into docs/results/sequence.md

The decoder emits one label after another, then the end. `label_sequence` trains it on the labels
in one order, frequent ones first; `label_set_sequence` accepts any order, and sees a random one
for each batch. Both are decoded greedily, and no label is emitted twice. Every method chooses
its learning rate from one list, and the round to stop at, by validation. Results are kept in
`runs/sequence/`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from typer import Option

import mlc_losses
from examples import data as data_sets
from examples.model import Params, Settings, drop_out, init_params
from examples.report import LOWER_IS_BETTER
from examples.studies.common.choice_table import choice_table
from examples.studies.common.command import BAR, sources
from examples.studies.common.criteria import decision_score
from examples.studies.common.pages import marks
from examples.studies.common.publish import publish
from examples.studies.common.stopping import (
    MOST_ROUNDS,
    WIDE_RATES,
    State,
    begin,
    one_round,
    round_batches,
    until_no_better,
)
from examples.studies.common.store import Runs, Unfinished
from examples.studies.common.sweep import QUICK, Split, split
from examples.studies.common.tables import Table, cell
from examples.train import load_data
from mlc_losses import metrics

DATA = ("emotions", "scene", "yeast")
METHODS = ("zlpr", "label_sequence", "label_set_sequence")
SETS = {
    "subset accuracy": metrics.subset_accuracy,
    "Hamming loss": metrics.hamming_loss,
    "micro-F1": partial(metrics.f1_score, average="micro"),
    "macro-F1": partial(metrics.f1_score, average="macro"),
    "samples-F1": partial(metrics.f1_score, average="samples"),
}
TIMES = {"training [s]": ("training seconds", 1.0), "prediction [µs/row]": ("row seconds", 1e6)}
MARKS = marks("examples/studies/sequence")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()
Decoder = dict[str, Any]


def init_decoder(key: jax.Array, features: int, hidden: int, labels: int) -> Decoder:
    """Encoder, GRU and output; label `labels` is the end, and as an input the start."""
    keys = jax.random.split(key, 4)
    (encoder,) = init_params(keys[0], [features, hidden])
    (recurrent,) = init_params(keys[1], [hidden, 3 * hidden])
    (output,) = init_params(keys[2], [hidden, labels + 1])
    embedded = jax.random.normal(keys[3], (labels + 1, 3 * hidden), jnp.float32) * hidden**-0.5
    return {"encoder": encoder, "recurrent": recurrent, "output": output, "embedded": embedded}


def dense(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + layer["bias"]


def encode(encoder: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jax.nn.relu(dense(encoder, x))


def encode_train(
    encoder: dict[str, jax.Array], x: jax.Array, key: jax.Array, settings: Settings
) -> jax.Array:
    input_key, hidden_key = jax.random.split(key)
    x = encode(encoder, drop_out(x, settings.input_dropout, input_key))
    return drop_out(x, settings.dropout, hidden_key)


def gru(params: Decoder, state: jax.Array, embedded: jax.Array) -> jax.Array:
    """The next state `[n, hidden]` after labels whose embeddings are `[n, 3 * hidden]`."""
    from_label = jnp.split(embedded, 3, axis=-1)
    from_state = jnp.split(dense(params["recurrent"], state), 3, axis=-1)
    reset = jax.nn.sigmoid(from_label[0] + from_state[0])
    update = jax.nn.sigmoid(from_label[1] + from_state[1])
    proposed = jnp.tanh(from_label[2] + reset * from_state[2])
    return update * state + (1 - update) * proposed


def step_scores(params: Decoder, state: jax.Array, emitted: jax.Array) -> jax.Array:
    """`[..., L + 1]`; a label that was emitted is out of the race, the end never is."""
    kernel, bias = params["output"]["kernel"], params["output"]["bias"][0]
    return jnp.where(emitted, -jnp.inf, state @ kernel + jnp.broadcast_to(bias, emitted.shape))


def mark(emitted: jax.Array, ids: jax.Array) -> jax.Array:
    """`emitted [n, L + 1]` with the labels `ids [n]` added; the end is never marked."""
    classes = jnp.arange(emitted.shape[-1])
    return emitted | ((classes[None] == ids[:, None]) & (classes < classes[-1])[None])


def teacher_forced(params: Decoder, state: jax.Array, ids: jax.Array) -> jax.Array:
    """Logits `[n, P + 1, L + 1]`: step t has seen the true labels `ids[:, :t]`, `ids [n, P]`."""
    labels = params["embedded"].shape[0] - 1
    start = jnp.full((len(ids), 1), labels, ids.dtype)
    # what padding is followed by does not matter: the losses ignore the steps after the end
    inputs = jnp.concatenate([start, jnp.where(ids < 0, labels, ids)], axis=1)
    # a product with one-hot rows has a faster gradient than looking rows up
    shown = jax.nn.one_hot(inputs, labels + 1, dtype=state.dtype)  # [n, P + 1, L + 1]
    from_labels = jnp.swapaxes(shown @ params["embedded"], 0, 1)

    def step(state: jax.Array, from_label: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = gru(params, state, from_label)
        return state, state

    _, states = jax.lax.scan(step, state, from_labels)
    emitted = jnp.cumsum(shown, axis=1) > 0
    emitted = emitted & (jnp.arange(labels + 1) < labels)[None, None]  # the end never is
    return step_scores(params, jnp.swapaxes(states, 0, 1), emitted)


@jax.jit
def greedy(params: Decoder, x: jax.Array) -> jax.Array:
    """Label ids `[n, L]` in the order emitted, all different, padded with -1 after the end."""
    labels = params["embedded"].shape[0] - 1

    def step(carry: Any, _: None) -> Any:
        state, emitted, previous, ended = carry
        state = gru(params, state, params["embedded"][previous])
        chosen = jnp.argmax(step_scores(params, state, emitted), axis=-1)
        ended = ended | (chosen == labels)
        carry = state, mark(emitted, chosen), chosen, ended
        return carry, jnp.where(ended, -1, chosen)

    rows = len(x)
    start = jnp.full(rows, labels)
    emitted = jnp.zeros((rows, labels + 1), bool)
    carry = encode(params["encoder"], x), emitted, start, jnp.zeros(rows, bool)
    _, ids = jax.lax.scan(step, carry, None, length=labels)
    return ids.T


@jax.jit
def decode(params: Decoder, x: jax.Array) -> jax.Array:
    """Label sets, bool `[n, L]`; of a network without a decoder those with logits above 0."""
    if "embedded" not in params:
        logits = dense(params["output"], encode(params["encoder"], x))
        return mlc_losses.predict_threshold(logits)
    return mlc_losses.multi_hot(greedy(params, x), params["embedded"].shape[0] - 1)


def start(method: str, key: jax.Array, features: int, hidden: int, labels: int) -> Params:
    """Before training: zlpr has the same encoder, and one logit per label instead of a decoder."""
    params = init_decoder(key, features, hidden, labels)
    if method != "zlpr":
        return params
    (output,) = init_params(jax.random.fold_in(key, 1), [hidden, labels])
    return {"encoder": params["encoder"], "output": output}


@partial(jax.jit, static_argnames=("method", "settings", "longest"), compiler_options=QUICK)
def train_round(
    state: State,
    rates: jax.Array,
    batches: jax.Array,
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    method: str,
    settings: Settings,
    longest: int,
) -> State:
    """A round at all learning rates; `longest` is the most labels of an example."""
    labels, counts = y.shape[1], y.sum(axis=0)

    def batch_loss(params: Params, chosen: jax.Array, key: jax.Array) -> jax.Array:
        dropout_key, order_key = jax.random.split(key)
        state = encode_train(params["encoder"], x[chosen], dropout_key, settings)
        if method == "zlpr":
            return mlc_losses.zlpr(dense(params["output"], state), y[chosen]).mean()
        if method == "label_sequence":
            ids = mlc_losses.order_labels(y[chosen], counts, longest)
            logits = teacher_forced(params, state, ids)
            return mlc_losses.label_sequence(logits, ids).mean()
        order = jax.random.uniform(order_key, (labels,))
        ids = mlc_losses.order_labels(y[chosen], order, longest)
        logits = teacher_forced(params, state, ids)
        return mlc_losses.label_set_sequence(logits, y[chosen], ids).mean()

    keys = jax.random.split(key, len(batches))
    return one_round(state, batch_loss, rates, batches, keys, settings.weight_decay)


def measure(rows: Split, method: str, seed: int, settings: Settings) -> dict[str, float]:
    """Test metrics at the rate and the round that are best on the validation part; and times."""
    x, y = map(jnp.asarray, rows.train)
    rates, key = jnp.asarray(WIDE_RATES, jnp.float32), jax.random.key(seed)
    longest = max(1, int(rows.train[1].sum(axis=1).max()))
    laps = []

    def advance(state: State, number: int) -> State:
        batches = round_batches(len(x), settings.batch_size, seed, number)
        drawn, began = jax.random.fold_in(key, number), time.perf_counter()
        state = train_round(
            state, rates, batches, drawn, x, y, method=method, settings=settings, longest=longest
        )
        jax.block_until_ready(state)
        laps.append(time.perf_counter() - began)
        return state

    def scores(params: Params) -> list[float]:
        held_x, held_y = rows.validation
        return [decision_score(np.asarray(decode(params, held_x)), held_y)]

    begun = begin(
        start(method, key, x.shape[1], settings.hidden, y.shape[1]), rates, settings.weight_decay
    )
    (found,) = until_no_better(begun, advance, scores, WIDE_RATES, most_rounds=settings.epochs)
    x, targets = jnp.asarray(rows.test[0]), rows.test[1]
    predicted = np.asarray(decode(found.params, x))
    result = {name: float(metric(predicted, targets)) for name, metric in SETS.items()}
    decoding = []
    for _ in range(9):
        began = time.perf_counter()
        jax.block_until_ready(decode(found.params, x))
        decoding.append(time.perf_counter() - began)
    return result | {
        "labels": float(predicted.sum(axis=1).mean()),
        "rate": found.rate,
        "round": found.round,
        "rounds": found.rounds,
        "training seconds": min(laps) * len(laps),  # without compilation
        "row seconds": min(decoding) / len(x),
    }


def tables(records: Sequence[tuple[str, str, Sequence[dict[str, float]]]]) -> list[Table]:
    """Of data, method and what was measured with each seed."""
    rows = []
    for data, method, runs in records:
        cells = [cell(np.array([run[m] for run in runs]), m) for m in SETS]
        times = [f"{min(run[f] for run in runs) * factor:.3g}" for f, factor in TIMES.values()]
        rows.append([data, f"`{method}`", *cells, *times])
    heads = [f"{m} {'↓' if m in LOWER_IS_BETTER else '↑'}" for m in SETS]
    result = [Table("Test split", ["data", "method", *heads, *TIMES], rows)]
    # the first records kept no choices
    known = [(d, f"`{m}`", runs) for d, m, runs in records if all("rate" in run for run in runs)]
    return [*result, choice_table(known)] if known else result


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    data: Annotated[list[str] | None, Option(help=f"{data_sets.SOURCES}; repeat")] = None,
    data_dir: Annotated[Path | None, Option(help="--data names .npz files in here")] = None,
    seeds: Annotated[int, Option(min=1, help="0, 1, ...")] = 10,
    rounds: Annotated[int, Option(min=1, help="of training at most")] = MOST_ROUNDS,
    hidden: Annotated[int, Option(min=1, help="of the encoder and of the GRU")] = 64,
    runs: Annotated[Path, Option(help="finished runs")] = Path("runs/sequence"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    into: Annotated[Path | None, Option(help="replaces the table in this page")] = None,
    finished: Annotated[bool, Option("--finished", help="report, train nothing")] = False,
) -> Runs:
    settings = Settings(epochs=rounds, hidden=hidden, batch_size=64, weight_decay=0.1)
    kept = Runs(runs, finished)
    records: list[tuple[str, str, list[dict[str, float]]]] = []
    all_data = [load_data(source) for source in sources(data or [], data_dir, DATA)]
    with Progress(*BAR, console=console) as progress:
        task = progress.add_task("", total=len(all_data) * len(METHODS) * seeds)
        for rows, method in itertools.product(all_data, METHODS):
            key = settings._asdict() | {
                "rates": list(WIDE_RATES),
                "shape": list(rows.train_features.shape),
            }
            found = []
            for seed in range(seeds):
                parts = split(rows, settings.validation, seed)
                compute: Callable[[], Any] = partial(measure, parts, method, seed, settings)
                name = f"{rows.name}-{method}-{seed}"
                progress.update(task, description=name)
                if (result := kept.get(name, key, compute)) is not None:
                    found.append(result)
                progress.advance(task)
            if found:
                records.append((rows.name, method, found))
    if not records:
        raise Unfinished(kept)
    publish(console, records, tables(records), {}, json_, into, MARKS)
    return kept
