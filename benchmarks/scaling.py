"""Memory and time of a training step as the labels grow: dense head, linear_loss, sharded.

    python -m benchmarks.scaling measure runs/scaling.json
    python -m benchmarks.scaling report runs/scaling.json docs/scaling.md

Every point is measured in a process of its own and kept in the file: what is there is not measured
again, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import MARKS, kept, measure_missing
from examples.studies.common.pages import replace_between
from examples.studies.common.tables import Table, bold

N, D, POSITIVES, DEVICES = 256, 64, 5, 8
LIMIT = 600.0  # seconds for one point
LABELS = [1_000, 10_000, 100_000, 1_000_000]
METHODS = {
    "dense": "dense head and zlpr",
    "blocked": "linear_loss",
    "sharded": f"sharded zlpr, {DEVICES} simulated devices",
}


def objective(method: str, num_labels: int) -> tuple[Callable[..., Any], Any]:
    """The loss of (features, kernel, bias, ids), and how the last axis of the head is split."""
    import jax
    from jax.sharding import PartitionSpec as P

    from mlc_losses import linear_loss, multi_hot, sharded, zlpr

    def dense(features: Any, kernel: Any, bias: Any, ids: Any) -> Any:
        return zlpr(features @ kernel + bias[None, :], multi_hot(ids, num_labels)).mean()

    if method == "dense":
        return dense, None
    if method == "blocked":
        return partial(linear_loss, zlpr), None
    mesh = jax.make_mesh((DEVICES,), ("labels",), axis_types=(jax.sharding.AxisType.Auto,))
    width = num_labels // DEVICES

    def own_targets(ids: Any) -> Any:
        return multi_hot(ids - jax.lax.axis_index("labels") * width, width)

    def split(features: Any, kernel: Any, bias: Any, ids: Any) -> Any:
        spec = P(None, "labels")
        targets = jax.shard_map(own_targets, mesh=mesh, in_specs=P(), out_specs=spec)(ids)
        loss = sharded(zlpr, mesh, labels="labels")
        return loss(features @ kernel + bias[None, :], targets).mean()

    return split, mesh


def measure_one(method: str, num_labels: int) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    if method == "sharded":
        jax.config.update("jax_num_cpu_devices", DEVICES)
    rng = np.random.default_rng(0)
    loss, mesh = objective(method, num_labels)
    kernel = rng.standard_normal((D, num_labels), np.float32) / D**0.5
    arrays = [
        jnp.asarray(rng.standard_normal((N, D), np.float32)),
        jnp.asarray(kernel),
        jnp.zeros(num_labels),
        jnp.asarray(rng.integers(0, num_labels, (N, POSITIVES)), jnp.int32),
    ]
    del kernel
    if mesh is not None:
        specs = [P(), P(None, "labels"), P("labels"), P()]
        places = zip(arrays, specs, strict=True)
        arrays = [jax.device_put(x, NamedSharding(mesh, spec)) for x, spec in places]
    step = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(*arrays).compile()
    times = []
    for _ in range(4):
        start = time.perf_counter()
        value, _ = jax.block_until_ready(step(*arrays))
        times.append(time.perf_counter() - start)
    return {
        "temporary MiB per device": step.memory_analysis().temp_size_in_bytes / 2**20,
        "peak MiB of the process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "seconds": statistics.median(times[1:]),
        "loss": float(value),
        "on": jax.default_backend(),
    }


def measure(path: Path, most: int = LABELS[-1]) -> None:
    cells = [(f"{m} {n}", [m, str(n)]) for n in LABELS if n <= most for m in METHODS]
    measure_missing("benchmarks.scaling", cells, path, LIMIT)


def exponent(labels: list[int], values: list[float]) -> float:
    """The exponent of growth over the last factor of 10 or more."""
    first = max(len(labels) - 2, 0)
    rise = np.log(values[-1] / values[first]) / np.log(labels[-1] / labels[first])
    return float(rise) if len(labels) > 1 else float("nan")


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def report(path: Path, page: Path) -> None:
    points = kept(path)
    sizes = {m: [n for n in LABELS if "seconds" in points.get(f"{m} {n}", {})] for m in METHODS}
    columns = {
        "temporary MiB per device": "Temporary memory of a step per device, MiB",
        "peak MiB of the process": "Peak memory of the process, MiB",
        "seconds": "Seconds per step",
    }
    tables = []
    for column, title in columns.items():
        numbers = sorted({n for known in sizes.values() for n in known})
        heads, rows = ["", *(f"L = {n:,}" for n in numbers), "exponent"], []
        for method, name in METHODS.items():
            values = {n: points[f"{method} {n}"][column] for n in sizes[method]}
            cells = [short(values[n]) if n in values else "" for n in numbers]
            rows.append([name, *cells, f"{exponent(list(values), list(values.values())):.2f}"])
        tables.append(bold(Table(title, heads, rows)))
    replace_between(page, *MARKS, "\n\n".join(tables))
    figure(points, sizes, columns, page.with_suffix(".png"))


def figure(points: Any, sizes: Any, columns: dict[str, str], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [c for c in columns if c != "peak MiB of the process"]
    whole, axes = plt.subplots(1, len(shown), figsize=(9, 3.6), layout="constrained")
    for axis, column in zip(axes, shown, strict=True):
        for method, marker in zip(METHODS, "osD", strict=True):
            values = [points[f"{method} {n}"][column] for n in sizes[method]]
            axis.loglog(sizes[method], values, marker=marker, label=METHODS[method])
        axis.set_xlabel("labels")
        axis.set_title(columns[column], fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    whole.savefig(path, dpi=110)
    plt.close(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command")
    measuring = commands.add_parser("measure", help="what the file lacks")
    measuring.add_argument("file", type=Path)
    measuring.add_argument("most", type=int, nargs="?", default=LABELS[-1], help="labels")
    reporting = commands.add_parser("report", help="write tables and figure from the file")
    reporting.add_argument("file", type=Path)
    reporting.add_argument("page", type=Path)
    options = parser.parse_args()
    if options.cell:
        method, num_labels = options.cell
        print(json.dumps(measure_one(method, int(num_labels))))
    elif options.command == "measure":
        measure(options.file, options.most)
    elif options.command == "report":
        report(options.file, options.page)
    else:
        parser.error("say measure or report")


if __name__ == "__main__":
    main()
