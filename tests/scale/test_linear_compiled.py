"""`linear_loss` under PyTorch's compiler: the numbers of the eager call, in one node."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mlc_losses import binary_cross_entropy, focal, linear_loss, soft_f1, zlpr
from mlc_losses import softmax_cross_entropy as cross_entropy
from tests.support import backends

if backends.NAME != "torch":
    pytest.skip("PyTorch's compiler", allow_module_level=True)

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend
from torch._functorch.aot_autograd import make_boxed_func

from tests.scale.test_linear_torch import D, L, N, layer, narrow, targets

pytestmark = [
    pytest.mark.modes,
    pytest.mark.filterwarnings("ignore:.*Function.*should not be instantiated"),  # Dynamo does
    pytest.mark.filterwarnings("ignore:.*torch.jit.script"),  # forward mode asks for it
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`"),
]
THRESHOLD = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
WHERE = torch.ones(N, L, dtype=torch.bool).tril(4)
ROWS: list[int] = []


def compiled(function: Callable[..., Any], backend: Any = "aot_eager") -> Callable[..., Any]:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


def assert_same(function: Callable[..., Any], arrays: list[Any], program: Any = None) -> None:
    """Value and gradients, compiled and not."""
    found, wanted = (program or compiled(function))(*arrays), function(*arrays)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)
    of = [x for x in arrays if x.requires_grad]
    pairs = zip(*(torch.autograd.grad(2.0 * x, of) for x in (found, wanted)), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


CALLS = {
    "multi-hot": (zlpr, "multi-hot", {}),
    "ids": (binary_cross_entropy, "ids", {"weights": torch.linspace(0.0, 2.0, N)}),
    "labels": (cross_entropy, "labels", {"where": WHERE}),
    "keywords": (partial(focal, gamma=1.0), "multi-hot", {"where": WHERE}),
    "lambda": (lambda s, y: focal(s, y, gamma=1.0), "multi-hot", {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_the_eager_call(name: str) -> None:
    loss, kind, keywords = CALLS[name]
    t = targets(kind)
    assert_same(lambda *x: linear_loss(loss, *x, t, block_size=3, **keywords), layer())


def test_only_what_needs_a_gradient_gets_one() -> None:
    features, kernel, _ = layer()
    arrays, t = [features.detach(), kernel], targets("ids")
    assert_same(lambda x, k: linear_loss(zlpr, x, k, None, t, block_size=3), arrays)
    with torch.no_grad():
        program = compiled(lambda x, k: linear_loss(zlpr, x, k, None, t, block_size=3))
        wanted = linear_loss(zlpr, *arrays, None, t)
        torch.testing.assert_close(program(*arrays), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: Any) -> None:
    t = targets("multi-hot")
    assert_same(lambda *x: linear_loss(zlpr, *x, t, block_size=3), narrow(dtype))


@pytest.mark.parametrize("inside", [True, False])
def test_autocast(inside: bool) -> None:
    arrays, t = narrow(torch.float32), targets("multi-hot")

    def within(*x: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return linear_loss(zlpr, *x, t, block_size=3)

    if inside:
        assert_same(within, arrays)
        return
    program = compiled(lambda *x: linear_loss(zlpr, *x, t, block_size=3))
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(within, arrays, program)


def test_a_bound_tensor_gets_its_gradient() -> None:
    t, threshold = targets("multi-hot"), THRESHOLD.detach().requires_grad_()

    def mean(x: Any, k: Any, b: Any, threshold: Any) -> Any:
        return linear_loss(partial(zlpr, threshold=threshold), x, k, b, t, block_size=3)

    assert_same(mean, [*layer(), threshold])


@pytest.mark.slow("the compiler unrolls the blocks")
def test_a_tensor_of_a_closure_gets_its_gradient() -> None:
    """Operation by operation: the compiler does not know such a loss as a value."""
    t, threshold = targets("multi-hot"), THRESHOLD.detach().requires_grad_()

    def mean(x: Any, k: Any, b: Any, threshold: Any) -> Any:
        def loss(s: Any, y: Any) -> Any:
            return zlpr(s, y, threshold=threshold)

        return linear_loss(loss, x, k, b, t, block_size=4)

    assert_same(mean, [*layer(), threshold])


def with_global_threshold(s: Any, y: Any) -> Any:
    return zlpr(s, y, threshold=THRESHOLD)


def test_a_gradient_that_it_cannot_give_is_an_error() -> None:
    t = targets("multi-hot")
    program = compiled(lambda *x: linear_loss(with_global_threshold, *x, t))
    with pytest.raises(ValueError, match=r"with_global_threshold has no gradient .* bind it"):
        program(*layer())


def test_a_loss_across_the_batch_is_refused() -> None:
    t = targets("multi-hot")
    with pytest.raises(ValueError, match="looks across the batch"):
        compiled(lambda *x: linear_loss(soft_f1, *x, t))(*layer())


def test_one_program_serves_every_size_of_batch() -> None:
    """After the second size, except that PyTorch makes programs of their own for 0 and 1 rows."""
    _, kernel, bias = layer()
    counter = CompileCounterWithBackend("aot_eager")

    def mean(x: Any, k: Any, b: Any, ids: Any) -> Any:
        return linear_loss(zlpr, x, k, b, ids, block_size=3)

    program = compiled(mean, counter)
    for rows, graphs in ((7, 1), (5, 2), (2, 2), (40, 2), (1, 3), (0, 4)):
        features = torch.randn(rows, D, dtype=torch.float64, requires_grad=True)
        assert_same(mean, [features, kernel, bias, torch.arange(2 * rows).view(-1, 2) % L], program)
        assert counter.frame_count == graphs


def counted_zlpr(s: Any, y: Any) -> Any:
    ROWS.append(len(s))
    return zlpr(s, y)


def test_no_graph_holds_the_logits() -> None:
    """Neither does it keep anything for the backward pass but the gradients."""
    rows, arrays = 30, layer()
    arrays[0] = torch.randn(rows, D, dtype=torch.float64, requires_grad=True)
    ids = torch.arange(rows)[:, None] % L
    sizes: list[int] = []

    def look(graph: Any, _: Any) -> Any:
        tensors = [node.meta.get("val") for node in graph.graph.nodes]
        sizes.extend(x.numel() for x in tensors if isinstance(x, torch.Tensor))
        return make_boxed_func(graph)

    program = compiled(
        lambda *x: linear_loss(counted_zlpr, *x, ids, block_size=4), aot_autograd(fw_compiler=look)
    )
    ROWS.clear()
    mean = program(*arrays)
    kept = mean.grad_fn.saved_tensors
    mean.backward()
    assert ROWS == [4] * 7 + [2]
    assert sizes and max(sizes) == rows * D < rows * L
    assert sorted(x.shape for x in kept) == sorted(x.shape for x in arrays)


@pytest.mark.slow("the compiler unrolls the blocks")
@pytest.mark.parametrize("forward", [False, True])
def test_transformations_inside_the_compiler(forward: bool) -> None:
    features, kernel, bias = (x.detach() for x in layer())
    t = targets("multi-hot")

    def by_kernel(k: Any) -> Any:
        def mean(k: Any) -> Any:
            return linear_loss(zlpr, features, k, bias, t, block_size=N)

        if forward:
            return torch.func.jvp(mean, (k,), (torch.ones_like(k),))[1]
        return torch.func.grad(mean)(k)

    torch.testing.assert_close(compiled(by_kernel)(kernel), by_kernel(kernel))
