"""Time and peak memory of losses against the same ones in other libraries, by batch and labels.

A cell is one loss on one shape, in a process of its own: all functions of JAX are timed in turns,
then all of PyTorch, so a share is of times taken side by side. Memory is measured in a second
process, in which large arrays go back to the system when they are freed. Finished cells are kept; a
run goes on where it stopped.

    python -m benchmarks.table_peers            # all cells that are missing, then the page
    python -m benchmarks.table_peers --write    # the page, from what is there
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cells import MARKS, ROOT, kept, measure_missing
from benchmarks.peers import draw, pairs
from benchmarks.ratios import times
from examples.studies.common.pages import replace_between
from examples.studies.common.tables import Table, titled

RESULTS = ROOT / "docs" / "results" / "speed_peers.json"
PAGE = ROOT / "docs" / "speed_peers.md"
# at 256 examples by labels, at 1000 labels by examples, and one of many labels
SHAPES = [(16, 10), (256, 100), (16, 1000), (256, 1000), (4096, 1000), (256, 10_000), (64, 100_000)]
# compiling takes PyTorch longer than all the rest
COMPILED = [(256, 1000), (256, 10_000)]
WEIGHED = [(256, 1000), (4096, 1000), (64, 100_000)]
LOSSES = [
    "zlpr",
    "binary_cross_entropy",
    "multilabel_soft_margin",
    "focal",
    "asymmetric",
    "poly",
    "multilabel_margin",
    "two_way",
    "distribution_balanced",
    "softmax_cross_entropy",
]
ON_JAX, ON_TORCH = "ours on JAX", "ours on PyTorch"
JAX_PEERS = ("optax",)
# a cell stops after so many rounds or seconds, whichever is first, but takes three rounds at least
ROUNDS, SECONDS, LIMIT = 31, 8.0, 400.0
# 5 resets the peak of this process's memory
CLEAR = Path("/proc/self/clear_refs")


class Step(NamedTuple):
    """Value and gradient of the mean over the examples."""

    run: Callable[[], Any]
    # what the compiler needs for it, where there is one that says so
    mib: float | None = None
    # lets go of the gradient
    clear: Callable[[], None] | None = None


def steps(name: str, shape: tuple[int, int]) -> dict[str, Step]:
    """By library."""
    import jax
    import torch

    pair = pairs()[name]
    logits, targets = draw(*shape, pair.single_label)

    def on_jax(loss: Callable[..., Any]) -> Step:
        arrays = jax.numpy.asarray(logits), jax.numpy.asarray(targets)
        run = jax.jit(jax.value_and_grad(loss)).lower(*arrays).compile()
        memory = run.memory_analysis()
        mib = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 2**20
        return Step(lambda: jax.block_until_ready(run(*arrays)), mib)

    def on_torch(loss: Callable[..., Any]) -> Step:
        s, y = torch.tensor(logits, requires_grad=True), torch.tensor(targets)

        def clear() -> None:
            s.grad = None

        def run() -> None:
            clear()
            loss(s, y).backward()

        return Step(run, clear=clear)

    def ours(logits: Any, targets: Any) -> Any:
        return pair.ours(logits, targets).mean()

    found = {ON_JAX: on_jax(ours), ON_TORCH: on_torch(ours)}
    found |= {peer: on_jax(loss) for peer, loss in pair.jax_peers.items()}
    found |= {peer: on_torch(loss) for peer, loss in pair.torch_peers.items()}
    if shape in COMPILED:
        for peer, loss in pair.torch_peers.items():
            found[f"{peer}, compiled"] = on_torch(torch.compile(loss, dynamic=False))
    return found


def time_cell(name: str, shape: tuple[int, int]) -> dict[str, Any]:
    """Milliseconds: of each function, one number for each round."""
    on_jax, on_torch = {}, {}
    for which, step in steps(name, shape).items():
        try:
            step.run()  # PyTorch compiles now
        except Exception as error:  # what a compiler cannot do is a finding, not the end
            print(f"{which}: {error!r}"[:500])
        else:
            (on_torch if step.mib is None else on_jax)[which] = step.run
    # one after the other: they would wait for the cores that the other's threads still hold
    return {"ms": time_in_turns(on_jax) | time_in_turns(on_torch)}


def time_in_turns(functions: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Milliseconds, without a pause, in which threads would fall asleep."""
    found = times(functions, rounds=ROUNDS, warm_up=2, limit=SECONDS)
    return {which: [round(1e3 * x, 4) for x in values] for which, values in found.items()}


def memory_now(field: str) -> float:
    """VmRSS or VmHWM of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field + ":"))
    return int(line.split()[1]) / 2**10


def memory_cell(name: str, shape: tuple[int, int]) -> dict[str, Any]:
    """MiB that a step needs at its peak beside its arguments, the gradient included.

    Of PyTorch the least rise of the resident memory in five steps, of JAX the compiler's account.
    """
    added: dict[str, float] = {}
    for which, step in steps(name, shape).items():
        if step.mib is not None:
            added[which] = step.mib
        elif step.clear and not which.endswith("compiled"):
            rises = []
            for _ in range(6):
                step.clear()
                CLEAR.write_text("5")
                before = memory_now("VmRSS")
                step.run()
                rises.append(memory_now("VmHWM") - before)
            added[which] = max(0.0, min(rises[1:]))
    return {"MiB": {which: round(mib, 2) for which, mib in added.items()}}


def cell_name(name: str, shape: tuple[int, int], what: str) -> str:
    return f"{name} {list(shape)} {what}"


def share(times: dict[str, list[float]], ours: str, peer: str) -> str:
    """The median over rounds of our time over the peer's, and its quartiles."""
    # of two libraries the slower one may have had time for fewer rounds
    ratios = [a / b for a, b in zip(times[ours], times[peer], strict=False)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def rows_of(cells: dict[str, Any]) -> list[tuple[str, str]]:
    """Each loss and each of its peers that was timed."""
    found = []
    for name in LOSSES:
        timed: dict[str, None] = {}
        for shape in SHAPES:
            timed |= dict.fromkeys(cells.get(cell_name(name, shape, "time"), {}).get("ms", {}))
        found += [(name, peer) for peer in timed if peer not in (ON_JAX, ON_TORCH)]
    return found


def page(cells: dict[str, Any]) -> str:
    heads, parts = ["loss", "peer", *(str(list(shape)) for shape in SHAPES)], []
    for ours in (ON_JAX, ON_TORCH):
        rows = []
        # eager PyTorch against jitted JAX would compare those two
        peers = [(n, p) for n, p in rows_of(cells) if ours == ON_JAX or p not in JAX_PEERS]
        for name, peer in peers:
            row = [f"`{name}`", peer]
            for shape in SHAPES:
                times = cells.get(cell_name(name, shape, "time"), {}).get("ms", {})
                row.append(share(times, ours, peer) if peer in times else "")
            rows.append(row)
        title = f"Time: {ours}, as a share of the peer's"
        parts.append(titled(Table(title, heads, rows, text_columns=2)))
    heads, rows = ["loss", "library", *(str(list(shape)) for shape in WEIGHED)], []
    for name in LOSSES:
        known = [
            cells.get(cell_name(name, shape, "memory"), {}).get("MiB", {}) for shape in WEIGHED
        ]
        for which in {which: None for cell in known for which in cell}:
            rows.append([f"`{name}`", which, *(f"{c[which]:.1f}" if c else "" for c in known)])
    title = "Memory of a step at its peak, MiB, its gradient included"
    parts.append(titled(Table(title, heads, rows, text_columns=2)))
    return "\n\n".join(parts)


def figure(cells: dict[str, Any], path: Path) -> None:
    """A panel for each loss: nanoseconds per logit by the number of labels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole = Figure(figsize=(11, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(whole)
    whole.suptitle("Value and gradient on a CPU: nanoseconds per logit, by the number of labels")
    shapes = [shape for shape in SHAPES if shape[0] == 256 or shape[1] > 10_000]
    kinds = {
        ON_JAX: "C0o-",
        ON_TORCH: "C0s--",
        "optax": "C1o-",
        "PyTorch": "C3s--",
        "timm": "C2s--",
    }
    for axes, name in zip(whole.subplots(2, 5, sharex=True, sharey=True).flat, LOSSES, strict=True):
        for which, kind in kinds.items():
            points = [
                (shape[1], 1e6 * statistics.median(times[which]) / (shape[0] * shape[1]))
                for shape in shapes
                if which in (times := cells.get(cell_name(name, shape, "time"), {}).get("ms", {}))
            ]
            axes.loglog(*zip(*points, strict=True) if points else ((), ()), kind, ms=4, label=which)
        axes.set_title(name, size=9)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    lines, labels = axes.get_legend_handles_labels()
    whole.legend(lines, labels, loc="outside lower center", ncols=len(kinds), frameon=False)
    whole.savefig(path)


def todo(what: str) -> list[tuple[str, list[str]]]:
    """Cells by name, and their arguments."""
    shapes = SHAPES if what == "time" else WEIGHED
    return [
        (cell_name(name, shape, what), [name, *map(str, shape), what])
        for shape in shapes
        for name in LOSSES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the page, measure nothing")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--cell", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        name, rows, labels, what = options.cell
        cell = {"time": time_cell, "memory": memory_cell}[what]
        print(json.dumps(cell(name, (int(rows), int(labels)))))
        return
    cells = {what: todo(what) for what in ("time", "memory")}
    if not options.write:
        measure_missing("benchmarks.table_peers", cells["time"], options.results, LIMIT)
        if CLEAR.exists():
            # large arrays go back to the system at once
            os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**16)
            measure_missing("benchmarks.table_peers", cells["memory"], options.results, LIMIT)
    found = kept(options.results)
    replace_between(options.page, *MARKS, page(found))
    figure(found, options.page.with_suffix(".png"))


if __name__ == "__main__":
    main()
