"""Losses against their peers on two cores: value and gradient together, float32, ratios of medians.

The peers are those of `peers.py`. `test_zlpr.py` has zlpr on JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from benchmarks.peers import Pair, draw, pairs, timm_losses
from benchmarks.ratios import medians, table

torch = pytest.importorskip("torch")

SHAPES = [(256, 10_000), (4096, 1000)]
ON_CPU = jax.default_backend() == "cpu"


class Bar(NamedTuple):
    """Our time is at most this share of the peer's."""

    loss: str
    peer: str
    share: float


ON_JAX = [
    Bar("binary_cross_entropy", "optax", 0.6),
    Bar("focal", "optax", 0.35),
    Bar("softmax_cross_entropy", "optax", 1.0),
]
ON_TORCH = [
    Bar("zlpr", "timm", 0.5),
    Bar("two_way", "timm", 0.5),
    Bar("asymmetric", "timm", 0.5),
    Bar("poly", "timm", 0.8),
    Bar("multilabel_soft_margin", "PyTorch", 0.6),
    Bar("binary_cross_entropy", "PyTorch", 1.1),
    Bar("softmax_cross_entropy", "PyTorch", 1.0),
]
COMPILED_ON_TORCH = [bar._replace(share=1.1) for bar in ON_TORCH]
TINY_ON_TORCH = [Bar("binary_cross_entropy", "PyTorch", 2.0)]
TINY_ON_JAX = [
    Bar("binary_cross_entropy", "optax", 3.0),
    Bar("focal", "optax", 3.0),
    Bar("softmax_cross_entropy", "optax", 3.0),
]


def mean_of(pair: Pair) -> Callable[..., Any]:
    return lambda logits, targets: pair.ours(logits, targets).mean()


def on_jax(loss: Callable[..., Any], *arrays: Any) -> Callable[[], Any]:
    run = jax.jit(jax.value_and_grad(loss)).lower(*arrays).compile()
    return lambda: jax.block_until_ready(run(*arrays))


def on_eager_jax(loss: Callable[..., Any], *arrays: Any) -> Callable[[], Any]:
    step = jax.value_and_grad(loss)
    return lambda: jax.block_until_ready(step(*arrays))


def on_torch(loss: Callable[..., Any], logits: Any, targets: Any) -> Callable[[], Any]:
    s, y = torch.tensor(logits, requires_grad=True), torch.tensor(targets)

    def run() -> None:
        s.grad = None
        loss(s, y).backward()

    return run


def compare(
    bar: Bar,
    functions: dict[str, Callable[[], Any]],
    title: str,
    benchmark: Any,
    report: list[str],
    **rounds: int,
) -> None:
    seconds = medians(functions, **rounds)
    report.append(table(f"{bar.loss} {title}", seconds, "ours"))
    benchmark.extra_info[bar.peer] = seconds["ours"] / seconds[bar.peer]
    benchmark.pedantic(functions["ours"], rounds=3, warmup_rounds=1)
    if ON_CPU:
        assert seconds["ours"] <= bar.share * seconds[bar.peer], bar.peer


def needs(bar: Bar) -> Pair:
    if bar.peer == "timm" and timm_losses() is None:
        pytest.skip("timm is not installed")
    return pairs()[bar.loss]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bar", ON_JAX, ids=lambda bar: bar.loss)
def test_jitted_jax(bar: Bar, shape: tuple[int, int], benchmark: Any, report: list[str]) -> None:
    pair = needs(bar)
    arrays = tuple(map(jnp.asarray, draw(*shape, pair.single_label)))
    functions = {
        "ours": on_jax(mean_of(pair), *arrays),
        bar.peer: on_jax(pair.jax_peers[bar.peer], *arrays),
    }
    compare(bar, functions, f"{list(shape)}, jitted JAX", benchmark, report)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bar", ON_TORCH, ids=lambda bar: bar.loss)
def test_eager_torch(bar: Bar, shape: tuple[int, int], benchmark: Any, report: list[str]) -> None:
    pair = needs(bar)
    arrays = draw(*shape, pair.single_label)
    functions = {
        "ours": on_torch(mean_of(pair), *arrays),
        bar.peer: on_torch(pair.torch_peers[bar.peer], *arrays),
    }
    compare(bar, functions, f"{list(shape)}, eager PyTorch", benchmark, report, rounds=20)


# Dynamo and inductor use what PyTorch has deprecated
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Dynamo detected a call to")
@pytest.mark.parametrize("bar", COMPILED_ON_TORCH, ids=lambda bar: bar.loss)
def test_compiled_torch(bar: Bar, benchmark: Any, report: list[str]) -> None:
    pair, shape = needs(bar), SHAPES[0]
    arrays = draw(*shape, pair.single_label)
    torch._dynamo.reset()
    functions = {
        "ours": on_torch(torch.compile(mean_of(pair), dynamic=False), *arrays),
        bar.peer: on_torch(torch.compile(pair.torch_peers[bar.peer], dynamic=False), *arrays),
    }
    compare(bar, functions, f"{list(shape)}, compiled PyTorch", benchmark, report, rounds=20)


@pytest.mark.parametrize("bar", TINY_ON_TORCH, ids=lambda bar: bar.loss)
def test_small_call_of_eager_torch(bar: Bar, benchmark: Any, report: list[str]) -> None:
    pair = needs(bar)
    arrays = draw(16, 10, pair.single_label)

    def many(run: Callable[[], Any]) -> Callable[[], None]:
        return lambda: [run() for _ in range(200)] and None

    functions = {
        "ours": many(on_torch(mean_of(pair), *arrays)),
        bar.peer: many(on_torch(pair.torch_peers[bar.peer], *arrays)),
    }
    compare(bar, functions, "[16, 10], 200 calls of eager PyTorch", benchmark, report)


@pytest.mark.parametrize("bar", TINY_ON_JAX, ids=lambda bar: bar.loss)
def test_small_call_of_eager_jax(bar: Bar, benchmark: Any, report: list[str]) -> None:
    pair = needs(bar)
    arrays = tuple(map(jnp.asarray, draw(64, 20, pair.single_label)))
    functions = {
        "ours": on_eager_jax(mean_of(pair), *arrays),
        bar.peer: on_eager_jax(pair.jax_peers[bar.peer], *arrays),
    }
    compare(bar, functions, "[64, 20], eager JAX", benchmark, report)
