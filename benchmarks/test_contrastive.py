"""supcon against MultiSupConLoss's equation on pytorch-metric-learning's parts, on one core.

The release of pytorch-metric-learning on the package index has no loss for several labels, so the
equation in its documentation is put together from what the release has: its cosine distance, its
masked log-sum-exp and its reducer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlc_losses as ml
from benchmarks.ratios import medians, table

ROWS, DIM, LABELS = 1024, 128, 100
BAR = 0.5
TASKS = Path("/proc/self/task")


@pytest.fixture
def one_core() -> Iterator[None]:
    """All threads of this process on one processor, those of either library alike."""
    if not TASKS.exists():
        pytest.skip("threads can be bound to a processor on Linux only")
    before = os.sched_getaffinity(0)
    first = {min(before)}
    for task in TASKS.iterdir():
        os.sched_setaffinity(int(task.name), first)
    yield
    for task in TASKS.iterdir():
        os.sched_setaffinity(int(task.name), before)


def ours(loss: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> tuple[Callable[[], Any], float]:
    """Value and gradient of the mean over the valid anchors, and the temporary memory in MiB."""

    def mean(x: Any, y: Any) -> Any:
        return ml.masked_mean(loss(x, y), ml.valid_anchors(y))

    arrays = jnp.asarray(x), jnp.asarray(y)
    step = jax.jit(jax.value_and_grad(mean)).lower(*arrays).compile()
    memory = step.memory_analysis().temp_size_in_bytes / 2**20
    return lambda: jax.block_until_ready(step(*arrays)), memory


def peer(x: np.ndarray, y: np.ndarray, threshold: float = 0.3) -> Callable[[], Any]:
    """`-1/|N_i| Σ_{p in N_i} J_ip log σ_ip`, `N_i` the others whose Jaccard index reaches 0.3."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.reducers import AvgNonZeroReducer
    from pytorch_metric_learning.utils import common_functions, loss_and_miner_utils

    embeddings = torch.tensor(x, requires_grad=True)
    labels = torch.tensor(y)
    distance, reducer = CosineSimilarity(), AvgNonZeroReducer()

    def run() -> None:
        embeddings.grad = None
        shared = labels @ labels.T
        sizes = labels.sum(1)
        jaccard = shared / (sizes[:, None] + sizes[None] - shared).clamp(min=1)
        others = ~torch.eye(len(x), dtype=torch.bool)
        positive = (jaccard >= threshold) & others
        similarities = distance(embeddings, embeddings) / 0.1
        similarities = similarities - similarities.max(dim=1, keepdim=True)[0].detach()
        total = loss_and_miner_utils.logsumexp(similarities, keep_mask=others, add_one=False, dim=1)
        attraction = (jaccard * positive * (similarities - total)).sum(1)
        losses = -attraction / (positive.sum(1) + common_functions.small_val(similarities.dtype))
        indices = common_functions.torch_arange_from_size(similarities)
        reducer(
            {"loss": {"losses": losses, "indices": indices, "reduction_type": "element"}},
            embeddings,
            labels,
        ).backward()

    return run


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the peer runs on the CPU")
def test_contrastive(one_core: None, benchmark: Any, report: list[str]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, DIM)).astype(np.float32)
    y = (rng.random((ROWS, LABELS)) < 0.03).astype(np.float32)
    losses = {
        "supcon": ml.supcon,
        "mulsupcon": ml.mulsupcon,
        "lifted_structure": ml.lifted_structure,
    }
    steps = {name: ours(loss, x, y) for name, loss in losses.items()}
    other = "MultiSupConLoss on pytorch-metric-learning's parts"
    functions = {name: step for name, (step, _) in steps.items()} | {other: peer(x, y)}
    seconds = medians(functions, rounds=15)
    memory = ", ".join(f"{name} {mib:.0f} MiB" for name, (_, mib) in steps.items())
    title = f"supcon [{ROWS}, {DIM}], {LABELS} labels, one core (temporary memory: {memory})"
    report.append(table(title, seconds, "supcon"))
    benchmark.extra_info["share"] = seconds["supcon"] / seconds[other]
    benchmark.pedantic(functions["supcon"], rounds=5, warmup_rounds=1)
    for _, mib in steps.values():
        assert mib <= 64
    assert seconds["supcon"] <= BAR * seconds[other]
