"""A table of time and peak memory of the losses for k guesses, over classes, k and samples.

Every cell runs in a process of its own, so that its peak memory is its own; finished cells are kept
in the JSON file, and a run goes on where the last one stopped. softjax needs Python 3.12: run the
script once more with an interpreter that has it, and its cells are added.

    python -m benchmarks.table_top_k                  # all cells that are missing
    python -m benchmarks.table_top_k --classes 100    # some of them
    python -m benchmarks.table_top_k --write          # the page, from what is there
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import MARKS, ROOT, kept, measure_missing
from examples.studies.common.pages import replace_between
from examples.studies.common.tables import Table, bold

RESULTS = ROOT / "docs" / "results" / "speed_top_k.json"
PAGE = ROOT / "docs" / "speed_top_k.md"
BATCH = 256
CLASSES, KS, SAMPLES = (100, 1000, 10_000), (1, 5, 20), (3, 10, 100)
METHODS = {
    **{f"sampled, {b}": "jax" for b in SAMPLES},
    **{f"published noised, {b}": "torch" for b in SAMPLES},
    "exact": "jax",
    "smooth": "jax",
    "published smooth": "torch",
    "softjax softsort": "softjax",
    "softjax neuralsort": "softjax",
}
# a cell stops after so many rounds or seconds, whichever is first, but takes one round at least
ROUNDS, SECONDS, LIMIT = 9, 5.0, 100.0


def batch(num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scores = (3 * rng.normal(size=(BATCH, num_labels))).astype(np.float32)
    return scores, rng.integers(num_labels, size=BATCH)


def jax_loss(method: str, k: int) -> Callable[..., Any]:
    import jax

    if method.startswith("softjax"):
        import softjax

        name = method.removeprefix("softjax ")

        def soft_hinge(scores: Any, labels: Any, key: Any) -> Any:
            """The same hinge on softjax's k-th largest, at the softness of its defaults."""
            values = softjax.top_k(scores, k + 1, method=name)[0]
            at_label = jax.numpy.take_along_axis(scores, labels[:, None], -1)[:, 0]
            return jax.nn.relu(1 + values[:, -1] - at_label)

        return soft_hinge
    from mlc_losses import noised_top_k_hinge, smooth_top_k_hinge

    if method == "smooth":
        return lambda scores, labels, key: smooth_top_k_hinge(scores, labels, k)
    if method == "exact":
        return lambda scores, labels, key: noised_top_k_hinge(scores, labels, k, method="exact")
    num_samples = int(method.split(",")[1])
    return lambda scores, labels, key: noised_top_k_hinge(
        scores, labels, k, key=key, num_samples=num_samples
    )


def jax_step(method: str, num_labels: int, k: int) -> tuple[Callable[[], Any], dict[str, Any]]:
    import jax

    loss = jax_loss(method, k)
    arguments = (*map(jax.numpy.asarray, batch(num_labels)), jax.random.key(0))
    step = jax.jit(jax.value_and_grad(lambda *arguments: loss(*arguments).mean()))
    run = step.lower(*arguments).compile()
    temporaries = run.memory_analysis().temp_size_in_bytes / 2**20
    return lambda: jax.block_until_ready(run(*arguments)), {"XLA temporaries MiB": temporaries}


def torch_step(method: str, num_labels: int, k: int) -> tuple[Callable[[], Any], dict[str, Any]]:
    import torch

    from benchmarks.top_k_peers import noised_top_k_hinge, smooth_top_k_hinge

    scores, labels = map(torch.tensor, batch(num_labels))
    scores.requires_grad_()

    def run() -> None:
        scores.grad = None
        if method == "published smooth":
            loss = smooth_top_k_hinge(scores, labels, k)
        else:
            loss = noised_top_k_hinge(scores, labels, k, int(method.split(",")[1]))
        loss.mean().backward()

    return run, {}


def peak() -> float:
    """The most memory this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(method: str, num_labels: int, k: int) -> dict[str, Any]:
    """One cell, in this process: median milliseconds, and what the steps add to the peak."""
    make = torch_step if METHODS[method] == "torch" else jax_step
    run, notes = make(method, num_labels, k)
    before = peak()
    run()
    times: list[float] = []
    begin = time.perf_counter()
    while not times or (len(times) < ROUNDS and time.perf_counter() - begin < SECONDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {
        "ms": 1e3 * statistics.median(times),
        "rounds": len(times),
        "peak MiB": max(0.0, peak() - before),
        **notes,
    }


def cell_name(method: str, num_labels: int, k: int) -> str:
    return f"{method} | L={num_labels} | k={k}"


def page(cells: dict[str, Any]) -> str:
    """Markdown: one table of milliseconds and one of peak MiB."""
    parts = []
    for unit in ("ms", "peak MiB"):
        heads, rows = ["", *(f"L={n}, k={k}" for n in CLASSES for k in KS)], []
        for method in METHODS:
            row = [cells.get(cell_name(method, n, k), {}) for n in CLASSES for k in KS]
            texts = ["failed" if "failed" in c else f"{c[unit]:.3g}" if c else "" for c in row]
            rows.append([method, *texts])
        parts.append(bold(Table(unit, heads, rows)))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="*", default=CLASSES)
    parser.add_argument("--ks", type=int, nargs="*", default=KS)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--write", action="store_true", help="write the page, measure nothing")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        method, num_labels, k = options.cell
        print(json.dumps(measure(method, int(num_labels), int(k))))
        return
    todo = [
        (cell_name(method, num_labels, k), [method, str(num_labels), str(k)])
        for num_labels in options.classes
        for k in options.ks
        for method in options.methods
        if importlib.util.find_spec(METHODS[method])
    ]
    measure_missing("benchmarks.table_top_k", [] if options.write else todo, options.results, LIMIT)
    if options.page.exists():
        replace_between(options.page, *MARKS, page(kept(options.results)))


if __name__ == "__main__":
    main()
