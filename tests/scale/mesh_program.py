"""Run by `test_mesh` over simulated devices: every loss under plain `jax.jit`, its arrays split.

python -m tests.scale.mesh_program labels|batch|own

`own`: inside the user's own `jax.shard_map`, over the batch.

XLA is told to optimize little, as in most tests. The collectives do not depend on it: they are
chosen before the optimizations that are left out.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import mlc_losses as ml
from mlc_losses.losses.contrastive import _similarity
from mlc_losses.perturbed import _jax
from tests.losses.cases import CASES
from tests.support.case import Case, with_prototypes

N, L = 32, 512
# they sort, select or compare the labels of an example: with labels split they may gather these
GATHERS = {
    "pairwise_hinge",
    "multilabel_margin",
    "warp",
    "calibrated_ranking",
    "top_k_hinge",
    "smooth_top_k_hinge",
    "noised_top_k_hinge",
    "average_k_two_head",  # of tied scores it counts the first
    "max_constraint",  # looks from a label at those below it
    "smooth_average_precision",  # its labels are rows here: it compares the columns, its examples
}
OVERLAP = [Case(loss, None, across_batch=True) for loss in (ml.soft_f1, ml.sigmoid_f1, ml.tversky)]
COLLECTIVE = re.compile(
    r"= (.*?) (?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)


def numbers_moved(program: str) -> Iterator[tuple[int, str]]:
    """The size of each array that a collective of the compiled program returns, and its line."""
    for line in program.splitlines():
        for found in COLLECTIVE.findall(line):
            for sizes in re.findall(r"\w+\[([\d,]*)\]", found):
                yield int(np.prod([int(size) for size in sizes.split(",") if size])), line[:200]


def most_moved(case: Case, over: str) -> int | None:
    """How many numbers a collective of the loss may return; None for a loss that may gather."""
    if over == "labels":
        return None if case.loss.__name__ in GATHERS else 4 * (N + L)
    # losses on embeddings compare those of the whole batch
    return None if case.embedded else 4 * (N + L)


def spec_of(x: Any, over: str) -> PartitionSpec:
    """Labels are the last axis of [N, L] and of [L], examples the first of [N, L] and of [N]."""
    axes = {
        (N, L): ("batch", "labels"),
        (N, 1): ("batch", None),
        (N,): ("batch",),
        (L,): ("labels",),
    }.get(np.shape(x), ())
    # an empty spec for an array that is not split
    axes = axes if over in axes else ()
    return PartitionSpec(*("devices" if axis == over else None for axis in axes))


class Program(NamedTuple):
    """Value and gradient of a loss; its arrays: the first, the other positional ones, by name."""

    run: Callable[..., Any]
    arrays: tuple[Any, ...]

    def split(self, mesh: Any, over: str) -> Any:
        def put(x: Any) -> Any:
            return jax.device_put(x, NamedSharding(mesh, spec_of(x, over)))

        return jax.tree.map(put, self.arrays)


def program_of(case: Case, **more: Any) -> Program:
    positional, keywords = case.draw(0, n=N, num_labels=L)
    arrays = {name: x for name, x in keywords.items() if np.ndim(x)} | more
    numbers = {name: x for name, x in keywords.items() if not np.ndim(x)}

    def total(first: Any, rest: Any, arrays: dict[str, Any]) -> Any:
        values = case.loss(first, *rest, **arrays, **numbers)
        return (values * jnp.cos(jnp.arange(values.size)).reshape(values.shape)).sum(), values

    return Program(jax.grad(total, has_aux=True), (positional[0], positional[1:], arrays))


def check(case: Case, mesh: Any, over: str, wanted: Any) -> None:
    """`wanted` is the result of the program on one device."""
    loss = program_of(case)
    with jax.set_mesh(mesh):
        split = loss.split(mesh, over)
        program = jax.jit(loss.run).lower(*split).compile()
        found = program(*split)
    for one, many in zip(jax.tree.leaves(wanted), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-9, atol=1e-11)
    most = most_moved(case, over)
    for size, line in numbers_moved(program.as_text()):
        assert most is None or size <= most, f"{size} numbers: {line}"


def check_masks(case: Case, mesh: Any, over: str) -> None:
    """A mask of labels and one of examples are split as the logits are; traced, not run."""
    if "where" not in inspect.signature(case.loss).parameters:
        return
    of_labels = np.arange(N * L).reshape(N, L) % 5 > 0
    for where in (of_labels, of_labels[:, :1]):
        loss = program_of(case, where=where)
        with jax.set_mesh(mesh):
            jax.jit(loss.run).lower(*loss.split(mesh, over))


def check_operators(mesh: Any) -> None:
    """The perturbed operators take scores whose rows are split; traced, not run."""
    split = NamedSharding(mesh, PartitionSpec("devices", None))
    scores = jax.ShapeDtypeStruct((N, L), jnp.float32, sharding=split)

    def total(operator: Callable[..., Any], options: dict[str, Any], scores: Any) -> Any:
        return operator(scores, 5, **options).sum()

    for operator in (ml.perturbed_kth_largest, ml.perturbed_top_k_sum, ml.perturbed_top_k_mask):
        for options in ({"method": "exact"}, {"key": jax.random.key(0)}):
            with jax.set_mesh(mesh):
                jax.jit(jax.grad(partial(total, operator, options))).lower(scores)


def check_in_own_shard_map(case: Case, meshes: Sequence[Any]) -> None:
    """Each device has the loss of its own rows, as if they were the whole batch."""
    positional, keywords = case.draw(0, n=N, num_labels=L)
    specs = tuple(spec_of(x, "batch") for x in positional)
    keywords = {name: jnp.asarray(x) if np.ndim(x) else x for name, x in keywords.items()}

    def loss(*arrays: Any) -> Any:
        return jnp.atleast_1d(case.loss(*arrays, **keywords))

    def value_and_gradient(loss: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *x: (loss(*x), jax.grad(lambda *x: loss(*x).sum())(*x))

    alone, wanted = jax.jit(value_and_gradient(loss)), []
    for rows in np.split(np.arange(N), meshes[0].size):
        given = [x[rows] if tuple(spec) else x for x, spec in zip(positional, specs, strict=True)]
        wanted.append(alone(*map(jnp.asarray, given)))
    for mesh in meshes:
        split = jax.shard_map(loss, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("devices"))
        arrays = [
            jax.device_put(x, NamedSharding(mesh, spec))
            for x, spec in zip(positional, specs, strict=True)
        ]
        found = jax.jit(value_and_gradient(split))(*arrays)
        for many, parts in zip(found, zip(*wanted, strict=True), strict=True):
            np.testing.assert_allclose(many, np.concatenate(parts), rtol=1e-9, atol=1e-11)


def check_all(case: Case, meshes: Sequence[Any], over: str) -> None:
    # several blocks of anchors, as large batches have
    _similarity._BLOCK_SIZE = 8 * (N + L if case.arrays is with_prototypes else N)
    if over == "own":
        check_in_own_shard_map(case, meshes)
        return
    loss = program_of(case)
    wanted = jax.jit(loss.run)(*jax.tree.map(jnp.asarray, loss.arrays))
    for mesh in meshes:
        check(case, mesh, over, wanted)
        check_masks(case, mesh, over)


def main(over: str) -> None:
    _jax._BLOCK_SIZE = 8 * L  # several blocks of rows too
    kinds = AxisType.Auto, AxisType.Explicit
    meshes = [jax.make_mesh((4,), ("devices",), axis_types=(kind,)) for kind in kinds]
    cases = [case for case in [*CASES, *OVERLAP] if over != "labels" or not case.embedded]
    wrong = []
    if over == "batch":
        for mesh in meshes:
            check_operators(mesh)
    for case in cases:
        try:
            check_all(case, meshes, over)
        except Exception as error:
            wrong.append(f"{case.id}: {type(error).__name__}: {error}"[:600])
    print("\n\n".join(wrong))
    sys.exit(len(wrong))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(*sys.argv[1:])
