"""Every public function in the modes that people train in, against the plain eager call.

`modes.py` says what is promised. Compiling is most of the time: the default tests compile a few
losses, and the session `modes` the rest.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc_losses as ml
from mlc_losses import metrics
from mlc_losses._array import namespace
from mlc_losses.losses.contrastive import _similarity
from tests.losses import test_losses
from tests.modes.modes import MODES
from tests.modes.subjects import LOSSES, SCORES, SUBJECTS, TARGETS, Subject, of_case
from tests.support.backends import NAME, asarray, jitted, to_numpy
from tests.support.programs import ROOT

only_torch = pytest.mark.skipif(NAME != "torch", reason="PyTorch's modes")
only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX's modes")
pytestmark = [
    # forward mode asks for a compiler of PyTorch's own, which warns of its age
    pytest.mark.filterwarnings("ignore:.*torch.jit.script"),
    pytest.mark.filterwarnings("ignore:.*Function.*should not be instantiated"),  # Dynamo does
    pytest.mark.filterwarnings("ignore:torch.searchsorted.*non-contiguous"),
]

DIFFERENTIABLE = [subject for subject in SUBJECTS if subject.has_gradient]
# of each way that a gradient is made, one: these are compiled by the default tests
QUICK = ("zlpr-hard_bool", "softmax_cross_entropy-one", "noised_top_k_hinge", "multi_hot")


def over(subjects: list[Subject], quick: tuple[str, ...] | None = None) -> Any:
    """A test for each; those not quick are left to the session `modes`."""

    def marks(subject: Subject) -> Any:
        return () if quick is None or subject.id.startswith(quick) else pytest.mark.modes

    cases = [pytest.param(subject, marks=marks(subject), id=subject.id) for subject in subjects]
    return pytest.mark.parametrize("subject", cases)


def total(subject: Subject) -> Callable[..., Any]:
    return lambda *arrays: subject.function(*arrays).sum()


def torch_gradient(function: Callable[..., Any], x: Any, *rest: Any) -> Any:
    import torch

    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(function(x, *rest), x)[0]


def close(actual: Any, expected: Any, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=rtol, atol=atol)


def test_every_public_function_is_here() -> None:
    """But those of `scale/`, which have tests of their own, and those that are for the host."""
    named = " ".join(subject.id for subject in SUBJECTS) + " smooth_targets enqueue init_queue"
    named += " queue_mask check_targets sharded linear_loss label_block_loss predict_linear_top_k"
    missing = {*ml.__all__, *metrics.__all__} - {"metrics"}
    assert not {name for name in missing if name not in named}


def test_every_mode_has_a_test() -> None:
    tests = {*vars(test_losses), *globals()}
    assert not {name for name in MODES if name not in tests}


# PyTorch ------------------------------------------------------------------------------------------


def compiled_by(backend: str, function: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


@only_torch
@over(SUBJECTS, QUICK)
def test_torch_compile(subject: Subject) -> None:
    arrays = subject.here()
    if not subject.has_gradient:
        close(compiled_by("eager", subject.function)(*arrays), subject.function(*arrays))
        return
    program = compiled_by("aot_eager", total(subject))
    close(torch_gradient(program, *arrays), torch_gradient(total(subject), *arrays))
    close(program(*arrays), total(subject)(*arrays))


AT_INFINITY = [
    subject
    for subject in LOSSES
    if subject.case.derivative_at_infinity and subject.case.right_infinity_is_deletion
]


def with_infinite_logits(subject: Subject) -> list[Any]:
    x, *rest = subject.here()
    assert subject.case is not None
    right = asarray(subject.case.relevant(subject.arrays))
    x[0, :3], x[2, 1:4] = np.inf, -np.inf
    x[4] = np.inf * (right[4] * 2.0 - 1.0)
    return [x, *rest]


@only_torch
@over(AT_INFINITY, ("zlpr-hard_bool",))
def test_compiled_at_infinity(subject: Subject) -> None:
    import torch

    x, *rest = with_infinite_logits(subject)
    x.requires_grad_()

    def both(function: Callable[..., Any]) -> tuple[Any, Any]:
        value = function(x, *rest)
        return value, torch.autograd.grad(value, x)[0]

    program = compiled_by("aot_eager", total(subject))
    for actual, expected in zip(both(program), both(total(subject)), strict=True):
        close(actual, expected)


@only_torch
@pytest.mark.modes
@pytest.mark.slow("a compiler of C++")
@pytest.mark.parametrize("name", ["zlpr-hard", "softmax_cross_entropy-one_class", "supcon-embed"])
def test_by_inductor(name: str) -> None:
    subject = next(s for s in LOSSES if s.id.startswith(name))
    arrays = subject.here()
    program = compiled_by("inductor", total(subject))
    close(torch_gradient(program, *arrays), torch_gradient(total(subject), *arrays))


@only_torch
def test_first_compilation_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor has been seen yet: that must not be noted while the compiler reads."""
    import torch
    from torch._dynamo.testing import CompileCounter

    from mlc_losses._array import backend

    monkeypatch.delitem(backend.NAMESPACES, torch.Tensor, raising=False)
    subject = next(s for s in LOSSES if s.id.startswith("zlpr-hard"))
    counter = CompileCounter()
    torch._dynamo.reset()
    program = torch.compile(total(subject), fullgraph=True, backend=counter)
    for _ in range(3):
        program(*subject.here())
    assert counter.frame_count == 1


FIRST_OF_MODULE = {s.case.loss.__module__: s.id for s in reversed(LOSSES)}.values()


@only_torch
@over(LOSSES, ("splc-hard",))
def test_compiled_for_any_size(subject: Subject) -> None:
    """With `dynamic=True` hyper-parameters and bounds are symbolic numbers too.

    Those are Dynamo's. What comes after it, and takes longest, is asked for one loss of a module.
    """
    import torch

    arrays = subject.here()
    torch._dynamo.reset()
    backend = "aot_eager" if subject.id in FIRST_OF_MODULE else "eager"
    program = torch.compile(total(subject), fullgraph=True, backend=backend, dynamic=True)
    close(torch_gradient(program, *arrays), torch_gradient(total(subject), *arrays))


@only_torch
@over(LOSSES, ("pairwise_hinge",))
def test_one_program_for_all_batch_sizes(subject: Subject) -> None:
    import torch
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    torch._dynamo.reset()
    program = torch.compile(total(subject), fullgraph=True, backend=counter)
    for n in (6, 9, 12, 33):
        x, *rest = of_case(subject.case, n=n).here()
        program(x.requires_grad_(), *rest)
    assert counter.frame_count <= 2


@only_torch
@over(SUBJECTS)
def test_torch_func(subject: Subject) -> None:
    import torch

    arrays = subject.here()
    twice = [torch.stack([x, x]) for x in arrays]
    value = subject.function(*arrays)
    close(torch.func.vmap(subject.function)(*twice), torch.stack([value, value]))
    if subject.by_row:
        close(torch.func.vmap(subject.function)(*arrays), value)
    if not subject.has_gradient:
        return
    expected = torch_gradient(total(subject), *arrays)
    gradient = torch.func.grad(total(subject))
    close(gradient(*arrays), expected)
    close(torch.func.vmap(gradient)(*twice), torch.stack([expected, expected]))
    x, *rest = arrays
    direction = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
    forward = torch.func.jvp(lambda x: total(subject)(x, *rest), (x,), (direction,))[1]
    close(forward, (expected * direction).sum())


# they hold tables in NumPy, which the compiler does not take into a transform
WITH_TABLES = ("max_constraint", "Hierarchy", "LabelPowerset")


@only_torch
@over(
    [s for s in DIFFERENTIABLE if not s.id.startswith(WITH_TABLES)],
    ("multilabel_softmax", "smooth_top_k_hinge", "perturbed_kth_largest-exact"),
)
def test_torch_func_compiled(subject: Subject) -> None:
    """The transform inside of the compiler, which loses the derivatives of a Function there."""
    import torch

    x, *rest = subject.here()
    direction = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
    gradient = torch.func.grad(lambda x: total(subject)(x, *rest))

    def derivatives(x: Any) -> Any:
        if not subject.twice:
            return gradient(x)
        return gradient(x), torch.func.grad(lambda x: (gradient(x) * direction).sum())(x)

    found = compiled_by("eager", derivatives)(x)
    for actual, expected in zip(found, derivatives(x), strict=True):
        close(actual, expected, rtol=1e-7, atol=1e-9)


@only_torch
@over([s for s in AT_INFINITY if not s.id.startswith(WITH_TABLES)], ("zlpr-hard_bool",))
def test_torch_func_compiled_at_infinity(subject: Subject) -> None:
    import torch

    x, *rest = with_infinite_logits(subject)
    function = total(subject)
    program = compiled_by("eager", torch.func.grad_and_value(lambda x: function(x, *rest)))
    for actual, expected in zip(
        program(x), (torch_gradient(function, x, *rest), function(x, *rest)), strict=True
    ):
        close(actual, expected)


@only_torch
@over([s for s in DIFFERENTIABLE if s.twice])
def test_second_derivatives_on_torch(subject: Subject) -> None:
    import torch

    x, *rest = subject.here()

    def squares(x: Any) -> Any:  # so that linear ones have a second derivative too
        return (subject.function(x, *rest) ** 2).sum()

    direction = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
    variable = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(squares(variable), variable, create_graph=True)
    (expected,) = torch.autograd.grad((gradient * direction).sum(), variable)
    assert torch.isfinite(expected).all()

    def along(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: torch.func.jvp(function, (x,), (direction,))[1]

    scale = float(expected.abs().max())
    close(along(torch.func.grad(squares))(x), expected, atol=1e-13 * scale)
    close(torch.func.grad(along(squares))(x), expected, atol=1e-13 * scale)
    close(along(along(squares))(x), (expected * direction).sum(), rtol=1e-9, atol=1e-10 * scale)


@only_torch
@pytest.mark.parametrize("is_compiled", [False, pytest.param(True, marks=pytest.mark.modes)])
def test_forward_mode_at_0_without_recording(is_compiled: bool) -> None:
    """`no_grad` outside does not switch it off: a formula that is split at 0 must know that."""
    import torch

    zeros, ones, targets = torch.zeros(3), torch.ones(3), torch.tensor([1.0, 0.0, 1.0])

    def along(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda s: torch.func.jvp(function, (s,), (ones,))[1]

    first = along(lambda s: ml.binary_cross_entropy(s, targets))
    second = along(first)
    if is_compiled:
        first = compiled_by("aot_eager", first)
    with torch.no_grad():
        assert float(first(zeros)) == -0.5
        assert float(second(zeros)) == 0.75


@only_torch
@over(DIFFERENTIABLE)
def test_batched_jacobian(subject: Subject) -> None:
    import torch

    x, *rest = subject.here()
    function = torch.autograd.functional.jacobian
    jacobian = function(lambda x: subject.function(x, *rest), x, vectorize=True)
    expected = torch_gradient(total(subject), x, *rest)
    close(jacobian.reshape(-1, *x.shape).sum(0), expected)


@only_torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@over(SUBJECTS)
def test_autocast(subject: Subject, dtype: str) -> None:
    import torch

    arrays = subject.here("float32")

    def results() -> list[Any]:
        value = subject.function(*arrays)
        if not subject.has_gradient:
            return [value]
        return [value, torch_gradient(total(subject), *arrays)]

    expected = results()
    with torch.autocast("cpu", dtype=getattr(torch, dtype)):
        actual = results()
    assert [x.dtype for x in actual] == [x.dtype for x in expected]
    for one, other in zip(actual, expected, strict=True):
        close(one, other, rtol=1e-6, atol=1e-7)


@only_torch
def test_autocast_of_far_points() -> None:
    import torch

    anchors = torch.full((2, 16), 80.0) * torch.tensor([[1.0], [-1.0]])
    with torch.autocast("cpu", dtype=torch.float16):
        close(ml.n_pair(anchors, anchors), torch.zeros(2))


@only_torch
def test_products_under_autocast_transform() -> None:
    """The rule that autocast needs, in forward mode, under `vmap` and differentiated twice."""
    import torch

    points, targets = (asarray(x) for x in next(s for s in LOSSES if "supcon" in s.id).arrays)
    points = points.float()

    def loss(x: Any) -> Any:
        return ml.supcon(x, targets).sum()

    def results() -> list[Any]:
        gradient = torch.func.grad(loss)
        forward = torch.func.jvp(gradient, (points,), (torch.ones_like(points),))[1]
        batched = torch.func.vmap(gradient)(torch.stack([points, points]))
        return [torch.func.jvp(loss, (points,), (points,))[1], forward, batched]

    expected = results()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = results()
    for one, other in zip(actual, expected, strict=True):
        close(one, other, rtol=1e-4, atol=1e-5)


@only_torch
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@over(DIFFERENTIABLE)
def test_anomaly_mode(subject: Subject) -> None:
    import torch

    arrays = subject.here()
    expected = torch_gradient(total(subject), *arrays)
    with torch.autograd.detect_anomaly():
        close(torch_gradient(total(subject), *arrays), expected)


@only_torch
@over(DIFFERENTIABLE, QUICK)
def test_recorded_operations(subject: Subject) -> None:
    """No way is chosen by the values that happened to come in."""
    from torch.fx.experimental.proxy_tensor import make_fx

    first, *rest = subject.here()

    def derivatives(x: Any) -> Any:
        return torch_gradient(total(subject), x, *rest)

    program = make_fx(derivatives)(first)
    other = first.flip(0)
    close(program(other), derivatives(other))


@only_torch
@pytest.mark.slow("a process of its own runs every function, value and backward pass")
def test_no_read_of_a_device() -> None:
    program = [sys.executable, "-m", "tests.modes.fake_device_program"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"checked {len(SUBJECTS)}"]


@only_torch
@over(SUBJECTS)
def test_reads_only_what_is_free(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors with values, on a device where the host would have to wait for them."""

    def refuse(name: str, x: Any) -> Any:
        raise AssertionError(f"the host has read {name}")

    for module in list(sys.modules.values()):
        if module.__name__.startswith("mlc_losses"):
            for name, fake in (("can_look", lambda x: False), ("to_host", refuse)):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, fake)
    arrays = subject.here()
    close(subject.function(*arrays), subject.function(*arrays))


@only_torch
@over(SUBJECTS)
def test_meta_tensors(subject: Subject) -> None:
    from tests.modes.fake_device_program import shapes_alone

    shapes_alone(subject, "meta")


@only_torch
@pytest.mark.parametrize("name", ["supcon", "mulsupcon", "msc", "lifted_structure", "n_pair"])
def test_blocks_of_anchors_under_transforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of pairs that are computed again in the backward pass, as above 2048 rows."""
    import torch

    monkeypatch.setattr(_similarity, "_BLOCK_SIZE", 16)
    subject = next(s for s in LOSSES if s.id.startswith(f"{name}-"))
    arrays = subject.here()
    expected = torch_gradient(total(subject), *arrays)
    close(torch.func.grad(total(subject))(*arrays), expected)
    x, *rest = arrays
    forward = torch.func.jvp(lambda x: total(subject)(x, *rest), (x,), (x,))[1]
    close(forward, (expected * x).sum(), atol=1e-10)


@only_torch
@pytest.mark.modes
def test_blocks_of_anchors_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_similarity, "_BLOCK_SIZE", 16)
    subject = next(s for s in LOSSES if s.id.startswith("supcon-"))
    arrays = subject.here()
    program = compiled_by("aot_eager", total(subject))
    close(torch_gradient(program, *arrays), torch_gradient(total(subject), *arrays))


# JAX ----------------------------------------------------------------------------------------------


def jax_gradient(subject: Subject) -> Callable[..., Any]:
    import jax

    return jax.grad(total(subject))


@only_jax
@over(DIFFERENTIABLE, ("zlpr-hard_bool", "smooth_top_k_hinge"))
def test_debug_nans(subject: Subject) -> None:
    import jax

    x, *rest = subject.here()
    edges = [x] if subject.case is None else [x, *(x * 0 + size for size in (0.0, 80.0, -80.0))]
    if subject.case is not None and 0.0 not in subject.case.hard_sizes:
        edges = [x]
    with jax.debug_nans(True):
        for logits in edges:
            jitted(jax.value_and_grad(total(subject)), True)(logits, *rest)


@only_jax
@over(DIFFERENTIABLE, ("zlpr-hard_bool", "smooth_top_k_hinge"))
def test_in_32_bits(subject: Subject) -> None:
    import jax

    def derivatives(x: Any, *rest: Any) -> Any:
        gradient = jax_gradient(subject)
        if not subject.twice:
            return subject.function(x, *rest), gradient(x, *rest)
        product = jax.jvp(lambda x: gradient(x, *rest), (x,), (x,))[1]
        return subject.function(x, *rest), gradient(x, *rest), product

    expected = jitted(derivatives, True)(*subject.here())
    with jax.enable_x64(False):
        actual = jitted(derivatives, True)(*subject.here("float32"))
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == np.float32
        assert np.isfinite(to_numpy(one)).all()
        scale = np.abs(to_numpy(other)).max()
        # of the expectation of a perturbed top-k, 1e-3 is what float32 promises for each rank
        share = 3e-3 if "-exact" in subject.id else 1e-4
        close(one, other, rtol=2e-4, atol=share * scale)


@only_jax
@over(DIFFERENTIABLE, ("zlpr-hard_bool",))
def test_remat_scan_and_vmap(subject: Subject) -> None:
    import jax
    import jax.numpy as jnp

    arrays = subject.here()
    gradient = jax_gradient(subject)

    @jax.jit
    def modes(*arrays: Any) -> Any:
        twice = [jnp.stack([x, x]) for x in arrays]
        rematerialized = jax.grad(jax.checkpoint(total(subject)))(*arrays)
        scanned = jax.lax.scan(lambda _, batch: (None, gradient(*batch)), None, tuple(twice))[1]
        return gradient(*arrays), rematerialized, *scanned, *jax.vmap(gradient)(*twice)

    expected, *others = modes(*arrays)
    for other in others:
        close(other, expected)


@only_jax
@over(SUBJECTS, ("zlpr-hard_bool", "supcon-embeddings", "noised_top_k_hinge"))
def test_lowers_for_accelerators(subject: Subject) -> None:
    import jax
    from jax import export

    def results(*arrays: Any) -> Any:
        value = subject.function(*arrays)
        return (value, jax_gradient(subject)(*arrays)) if subject.has_gradient else value

    with jax.enable_x64(False):
        text = str(export.export(jax.jit(results), platforms=["cuda", "tpu"])(
            *subject.here("float32")).mlir_module())  # fmt: skip
    assert "callback" not in text


@only_jax
@pytest.mark.modes
def test_few_dependent_steps() -> None:
    """On an accelerator a loop over all labels would take longest."""
    import jax
    import jax.numpy as jnp

    from tests.modes.dependent_steps import dependent_steps

    def steps(function: Callable[..., Any], *shapes: Any) -> int:
        return dependent_steps(jax.jit(function).trace(*shapes).lower(lowering_platforms=("cuda",)))

    def gradient(loss: Callable[..., Any]) -> Callable[..., Any]:
        return jax.value_and_grad(lambda scores, *rest: loss(scores, *rest).sum())

    def sums(x: Any) -> Any:
        def of_row(row: Any) -> Any:
            return jax.lax.fori_loop(0, 3, lambda i, total: total + row[i], 0.0)

        return jax.lax.map(of_row, x)

    assert steps(sums, jax.ShapeDtypeStruct((7, 3), jnp.float32)) == 21
    scores = jax.ShapeDtypeStruct((256, 10_000), jnp.float32)
    labels = jax.ShapeDtypeStruct((256,), jnp.int32)
    targets = jax.ShapeDtypeStruct((256, 10_000), jnp.bool_)
    smooth = gradient(lambda scores, labels: ml.smooth_top_k_hinge(scores, labels, 5))
    assert steps(smooth, scores, labels) <= 150
    assert steps(gradient(ml.calibrated_ranking), scores, targets) <= 300


@only_jax
def test_only_free_reads() -> None:
    """An array on another device, or a traced one, is not looked at unasked."""
    import jax

    here = asarray(np.array([1, 2]))
    assert namespace.can_look(here)
    seen = []
    jax.jit(lambda x: seen.append(namespace.can_look(x)) or x)(here)
    assert seen == [False]


@only_jax
@pytest.mark.modes
@over([s for s in LOSSES if not s.case.embedded])
def test_branches_off_the_cpu(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What XLA is given on another platform, run on the CPU: as what it is given there."""
    import jax

    subject = of_case(subject.case, num_labels=131)

    def both(*arrays: Any) -> Any:
        return subject.function(*arrays), jax_gradient(subject)(*arrays)

    expected = jax.jit(both)(*subject.here())
    taken = []

    def elsewhere(*arrays: Any, cpu: Any, default: Any) -> Any:
        taken.append(default)
        return default(*arrays)

    jax.clear_caches()  # what has been traced has a branch for each platform
    monkeypatch.setattr(jax.lax, "platform_dependent", elsewhere)
    actual = jax.jit(lambda *arrays: both(*arrays))(*subject.here())
    jax.clear_caches()
    assert taken or not subject.id.startswith(("zlpr", "calibrated"))
    for one, other in zip(actual, expected, strict=True):
        close(one, other)


@only_jax
def test_losses_on_a_linear_layer_lower() -> None:
    import jax
    from jax import export

    x, kernel, targets = SCORES, np.ones((7, 5)), TARGETS[:, :5]
    losses = {
        "linear_loss": lambda x, w, y: ml.linear_loss(ml.zlpr, x, w, None, y),
        "label_block_loss": lambda x, w, y: ml.label_block_loss(ml.zlpr, x, w, None, y),
    }
    for loss in losses.values():
        arrays = [asarray(a, "float32") for a in (x, kernel, targets)]
        with jax.enable_x64(False):
            program = jax.jit(jax.value_and_grad(loss, (0, 1)))
            text = str(export.export(program, platforms=["cuda", "tpu"])(*arrays).mlir_module())
        assert "callback" not in text
