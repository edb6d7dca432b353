"""The modes that people train in: what each is, and what the tests hold to it.

Each has a test, which takes one list of losses or of all public functions; the page of backends
shows this list.
"""

from __future__ import annotations

from typing import NamedTuple


class Mode(NamedTuple):
    backend: str
    name: str
    promise: str


# by the name of the test, in `test_modes.py` or `tests/losses/test_losses.py`
MODES = {
    "test_torch_compile": Mode(
        "PyTorch", "`torch.compile(fullgraph=True)`",
        "value and gradient as in eager code, of infinite logits too"),
    "test_compiled_for_any_size": Mode(
        "PyTorch", "`torch.compile(fullgraph=True, dynamic=True)`", "gradient as in eager code"),
    "test_one_program_for_all_batch_sizes": Mode(
        "PyTorch", "`torch.compile`, batches of several sizes",
        "two programs at most: one for the first size, one for all others"),
    "test_torch_func": Mode(
        "PyTorch", "`torch.func.grad`, `vmap`, `jvp`",
        "as in eager code, also the gradient under `vmap`"),
    "test_torch_func_compiled": Mode(
        "PyTorch", "`torch.func.grad` inside `torch.compile`",
        "as in eager code, of infinite logits too; second derivatives on finite logits; not for "
        "losses with a `Hierarchy` or `LabelPowerset`"),
    "test_second_derivatives_on_torch": Mode(
        "PyTorch", "`torch.func.hessian`, double backward",
        "as reverse mode twice; forward mode twice too"),
    "test_batched_jacobian": Mode(
        "PyTorch", "`torch.autograd.functional.jacobian(vectorize=True)`",
        "the gradient of each result"),
    "test_autocast": Mode(
        "PyTorch", "`torch.autocast`, bfloat16 and float16",
        "no effect on values or gradients, even with the backward pass inside"),
    "test_anomaly_mode": Mode(
        "PyTorch", "`torch.autograd.detect_anomaly`", "nothing is found: no NaN on the way"),
    "test_recorded_operations": Mode(
        "PyTorch", "`make_fx` of value and gradient", "what is recorded is right for other values"),
    "test_no_read_of_a_device": Mode(
        "PyTorch", "tensors on an accelerator",
        "the host reads no value, forward or backward (checked with fake tensors)"),
    "test_meta_tensors": Mode(
        "PyTorch", "`meta` tensors", "shapes and dtypes, forward and backward"),
    "test_jit_and_vmap": Mode("JAX", "`jax.jit`, `jax.vmap`", "as called directly"),
    "test_forward_mode_and_second_derivatives": Mode(
        "JAX", "`jax.jvp`, `jax.hessian`", "as differences of the gradient"),
    "test_debug_nans": Mode("JAX", "`jax_debug_nans`", "nothing is found on finite logits"),
    "test_in_32_bits": Mode(
        "JAX", "without `jax_enable_x64`",
        "values, gradients and second derivatives are finite and those of float64, rounded"),
    "test_remat_scan_and_vmap": Mode(
        "JAX", "`jax.checkpoint`, `jax.lax.scan`, `jax.vmap` of `jax.grad`", "as called directly"),
    "test_lowers_for_accelerators": Mode(
        "JAX", "`jax.export` for CUDA and TPU",
        "value and gradient lower, without a callback to the host"),
    "test_branches_off_the_cpu": Mode(
        "JAX", "what a GPU or TPU runs in place of code for the CPU",
        "equal to it in value and gradient, run on the CPU"),
}  # fmt: skip
