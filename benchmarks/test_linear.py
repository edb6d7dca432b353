"""linear_loss against a dense head and its own matrix products; every loss against a copy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlc_losses
from benchmarks.ratios import medians, table
from mlc_losses import linear_loss, multi_hot, zlpr

N, D, L = 256, 64, 100_000
MEMORY_BAR, TIME_BAR, PRODUCTS_BAR = 1 / 8, 1.2, 2.0
ON_CPU = jax.default_backend() == "cpu"


def compiled(loss: Callable[..., Any], *arrays: jax.Array, by: tuple[int, ...]) -> Any:
    return jax.jit(jax.value_and_grad(loss, by)).lower(*arrays).compile()


def problem(num_labels: int) -> list[jax.Array]:
    """Features, kernel, bias and ids."""
    rng = np.random.default_rng(0)
    return [
        jnp.asarray(rng.standard_normal((N, D), np.float32)),
        jnp.asarray(rng.standard_normal((D, num_labels), np.float32) / D**0.5),
        jnp.zeros(num_labels),
        jnp.asarray(rng.integers(0, num_labels, (N, 5)), jnp.int32),
    ]


def dense(features: Any, kernel: Any, bias: Any, ids: Any) -> Any:
    return zlpr(features @ kernel + bias[None, :], multi_hot(ids, L)).mean()


def blocked(features: Any, kernel: Any, bias: Any, ids: Any) -> Any:
    return linear_loss(zlpr, features, kernel, bias, ids)


def test_linear_loss(benchmark: Any, report: list[str]) -> None:
    arrays = problem(L)
    steps = {
        name: compiled(loss, *arrays, by=(0, 1, 2))
        for name, loss in (("linear_loss", blocked), ("dense head and zlpr", dense))
    }
    memory = {name: s.memory_analysis().temp_size_in_bytes for name, s in steps.items()}
    functions = {
        name: lambda step=step: jax.block_until_ready(step(*arrays)) for name, step in steps.items()
    }
    seconds = medians(functions, rounds=10)
    title = f"linear_loss, zlpr, N = {N}, D = {D}, L = {L}, ids, {jax.default_backend()}"
    lines = [f"- {name}: {size / 2**20:.1f} MiB of temporaries" for name, size in memory.items()]
    report.append("\n".join([table(title, seconds, "linear_loss"), "", *lines]))
    ours, theirs = memory.values()
    benchmark.extra_info["memory share"] = ours / theirs
    benchmark.pedantic(functions["linear_loss"], rounds=3)
    if ON_CPU:  # elsewhere blocks are larger by default
        assert ours <= MEMORY_BAR * theirs
        assert seconds["linear_loss"] <= TIME_BAR * seconds["dense head and zlpr"]


def allocated(run: Callable[[], Any]) -> int:
    """The most bytes that PyTorch's tensors held at a time, beyond those there at the start."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events))


# Dynamo's own
@pytest.mark.filterwarnings("ignore:.*Function.*should not be instantiated")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("name", ["zlpr", "binary_cross_entropy", "softmax_cross_entropy"])
def test_linear_loss_on_torch(name: str, benchmark: Any, report: list[str]) -> None:
    torch = pytest.importorskip("torch")
    loss, generator = getattr(mlc_losses, name), torch.Generator().manual_seed(0)
    features = torch.randn(N, D, generator=generator, requires_grad=True)
    kernel = (torch.randn(D, L, generator=generator) / D**0.5).requires_grad_()
    bias = torch.zeros(L, requires_grad=True)
    layer = features, kernel, bias
    ids = torch.randint(0, L, (N, 5), generator=generator)
    targets = ids[:, 0].contiguous() if name == "softmax_cross_entropy" else ids

    def dense() -> Any:
        if name == "softmax_cross_entropy":
            return loss(features @ kernel + bias, targets).mean()
        return loss(features @ kernel + bias, multi_hot(targets, L)).mean()

    def step(mean: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            for x in layer:
                x.grad = None
            mean().backward()

        return run

    def mean() -> Any:
        return linear_loss(loss, *layer, targets)

    program = torch.compile(mean, fullgraph=True, backend="aot_eager")
    functions = {
        "linear_loss": step(mean),
        "linear_loss, compiled": step(program),
        "dense head": step(dense),
    }
    functions["linear_loss, compiled"]()
    if name == "softmax_cross_entropy":
        weight = kernel.detach().T.contiguous().requires_grad_()
        functions["PyTorch's linear_cross_entropy"] = step(
            lambda: torch.nn.functional.linear_cross_entropy(
                features, weight, targets, linear_bias=bias
            )
        )
    gradients = sum(x.numel() * x.element_size() for x in layer)
    memory = {run: allocated(functions[run]) - gradients for run in list(functions)[:3]}
    seconds = medians(functions, rounds=7)
    title = f"linear_loss, {name}, N = {N}, D = {D}, L = {L}, PyTorch"
    lines = [f"- {run}: {size / 2**20:.1f} MiB of temporaries" for run, size in memory.items()]
    report.append("\n".join([table(title, seconds, "linear_loss"), "", *lines]))
    benchmark.extra_info["memory share"] = memory["linear_loss"] / memory["dense head"]
    benchmark.pedantic(functions["linear_loss"], rounds=3)
    for run in ("linear_loss", "linear_loss, compiled"):
        assert memory[run] <= MEMORY_BAR * memory["dense head"], run
    assert seconds["linear_loss, compiled"] <= TIME_BAR * seconds["dense head"]
    for peer, bar in (("dense head", TIME_BAR), ("PyTorch's linear_cross_entropy", 1.0)):
        if peer in seconds:
            assert seconds["linear_loss"] <= bar * seconds[peer], peer


@jax.jit
def products(features: Any, kernel: Any, by_logits: Any) -> tuple[Any, Any, Any]:
    """The three that value and gradients are made of."""
    return features @ kernel, by_logits @ kernel.T, features.T @ by_logits


@pytest.mark.parametrize("num_labels", [L, 10 * L])
def test_linear_loss_by_its_products(num_labels: int, benchmark: Any, report: list[str]) -> None:
    arrays = problem(num_labels)
    features, kernel, *_ = arrays
    step = compiled(blocked, *arrays, by=(0, 1, 2))
    functions = {
        "linear_loss": lambda: jax.block_until_ready(step(*arrays)),
        # the logits are as good as their gradient
        "three products": lambda: jax.block_until_ready(products(features, kernel, by_logits)),
    }
    by_logits = features @ kernel
    seconds = medians(functions, rounds=10 if num_labels == L else 5, warm_up=1)
    title = f"linear_loss, zlpr, N = {N}, D = {D}, L = {num_labels}, {jax.default_backend()}"
    report.append(table(title, seconds, "linear_loss"))
    benchmark.pedantic(functions["linear_loss"], rounds=1)
    if ON_CPU:
        assert seconds["linear_loss"] <= PRODUCTS_BAR * seconds["three products"]


def multi_hot_losses() -> list[str]:
    """The losses of the one call shape, with one value per example."""
    found = []
    for name in mlc_losses.__all__:
        loss = getattr(mlc_losses, name)
        if inspect.isfunction(loss):
            parameters = inspect.signature(loss).parameters.values()
            needed = [p.name for p in parameters if p.default is p.empty]
            if needed == ["logits", "targets"]:
                like = jax.ShapeDtypeStruct((3, 5), jnp.float32)
                if jax.eval_shape(loss, like, like).shape == (3,):
                    found.append(name)
    return found


@pytest.mark.parametrize("name", multi_hot_losses())
def test_share_of_copy_bandwidth(name: str, benchmark: Any, report: list[str]) -> None:
    """Least traffic of value and gradient: logits and targets read, gradients written."""
    shape = (64, 1000) if ON_CPU else (256, 100_000)
    if name == "calibrated_ranking":  # quadratic by nature
        shape = (64, 1000)
    rng = np.random.default_rng(0)
    s = jnp.asarray(3 * rng.normal(size=shape), jnp.float32)
    y = jnp.asarray(rng.random(shape) < 0.01)
    loss = getattr(mlc_losses, name)
    step = compiled(lambda s, y: loss(s, y).mean(), s, y, by=(0,))
    copy = jax.jit(lambda x: -x).lower(s).compile()
    functions = {
        name: lambda: jax.block_until_ready(step(s, y)),
        "copy": lambda: jax.block_until_ready(copy(s)),
    }
    seconds = medians(functions, rounds=10)
    least = s.nbytes + y.nbytes + s.nbytes
    bandwidth = 2 * s.nbytes / seconds["copy"]
    share = least / seconds[name] / bandwidth
    benchmark.extra_info["share of copy bandwidth"] = share
    report.append(
        f"{name} {list(shape)}, bool targets, {jax.default_backend()}: {1e3 * seconds[name]:.3f} "
        f"ms, {share:.2f} of the copy bandwidth, {bandwidth / 2**30:.1f} GiB/s"
    )
    benchmark.pedantic(functions[name], rounds=3)
