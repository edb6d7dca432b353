"""Hierarchies: closure, coherent scores, the loss with its masks, ties and limits, and errors."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import mlc_losses as ml
from mlc_losses import Hierarchy
from tests.losses import oracles_hierarchy as oracles
from tests.losses.cases_hierarchy import hierarchy_of, some_edges
from tests.support.backends import HAS_GRADIENTS, NAME, asarray, compiled, gradient, to_numpy, xp

EDGES = {
    "graph": some_edges(9),
    "chain": [(i, i - 1) for i in range(1, 9)],
    "star": [(i, 4) for i in range(9) if i != 4],
    "diamonds": [(1, 0), (2, 0), (3, 1), (3, 2), (4, 3), (5, 3), (6, 4), (6, 5), (6, 0)],
    "flat": [],
}
GRAPHS = {name: hierarchy_of(edges, 9) for name, edges in EDGES.items()}
every_graph = pytest.mark.parametrize("name", EDGES)
with_gradients = pytest.mark.skipif(not HAS_GRADIENTS, reason=f"{NAME} has no gradients")
only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX's transformations")


def batch(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    s = rng.integers(-1, 2, (12, 9)).astype(float) if ties else rng.normal(size=(12, 9)) * 2
    return s, (rng.random((12, 9)) < 0.2).astype(float), rng.random((12, 9)) < 0.6


def loss_of(name: str) -> Any:
    return partial(ml.max_constraint, hierarchy=GRAPHS[name])


def total(s: Any, y: Any, where: Any, name: str) -> Any:
    return xp.sum(loss_of(name)(s, y, where=where))


TOTALS = {name: partial(total, name=name) for name in EDGES}


# what a hierarchy says ---------------------------------------------------------------------------


@every_graph
def test_closure_and_coherent_scores(name: str) -> None:
    s, y, _ = batch(0)
    expected = np.array([oracles.closure(row, EDGES[name]) for row in y])
    for dtype in ("bool", "uint8", "float32"):
        actual = GRAPHS[name].closure(asarray(y, dtype))
        assert actual.dtype == getattr(xp, dtype)
        np.testing.assert_array_equal(to_numpy(actual), expected)
    soft = np.random.default_rng(1).random((2, 3, 9))
    expected = np.array([oracles.closure(row, EDGES[name]) for row in soft.reshape(-1, 9)])
    actual = to_numpy(GRAPHS[name].closure(asarray(soft)))
    np.testing.assert_array_equal(actual, expected.reshape(soft.shape))
    expected = np.array([oracles.coherent(row, EDGES[name]) for row in s])
    np.testing.assert_array_equal(to_numpy(GRAPHS[name].coherent(asarray(s))), expected)
    one = to_numpy(GRAPHS[name].coherent(asarray(s[0])))
    np.testing.assert_array_equal(one, expected[0])


@every_graph
def test_a_decision_by_coherent_scores_is_coherent(name: str) -> None:
    s, *_ = batch(1)
    chosen = to_numpy(GRAPHS[name].coherent(asarray(s))) > 0
    np.testing.assert_array_equal([oracles.closure(row, EDGES[name]) for row in chosen], chosen)


def test_hierarchical_f1_is_micro_f1_of_the_closures() -> None:
    """By the sets of labels and ancestors, as Kiritchenko et al. define it."""
    s, y, _ = batch(12)
    groups = [oracles.below(EDGES["graph"], a) for a in range(9)]
    common = sizes = 0
    for scores, targets in zip(s > 1, y > 0, strict=True):
        chosen, true = (
            {a for a, group in enumerate(groups) if group & set(np.flatnonzero(x).tolist())}
            for x in (scores, targets)
        )
        common, sizes = common + len(chosen & true), sizes + len(chosen) + len(true)
    closures = (GRAPHS["graph"].closure(asarray(x)) for x in (s > 1, y > 0))
    actual = float(ml.metrics.f1_score(*closures, average="micro"))
    np.testing.assert_allclose(actual, 2 * common / sizes, rtol=1e-6)


def test_nan_and_infinity_reach_the_ancestors() -> None:
    s = np.zeros((3, 9))
    s[0, 6], s[1, 6], s[2, 6] = np.nan, np.inf, -np.inf
    actual = to_numpy(GRAPHS["diamonds"].coherent(asarray(s)))
    assert np.isnan(actual[0]).tolist() == [True] * 7 + [False] * 2
    assert (actual[1] == np.inf).tolist() == [True] * 7 + [False] * 2
    assert actual[2].tolist() == [0.0] * 6 + [-np.inf] + [0.0] * 2
    assert np.isnan(to_numpy(GRAPHS["diamonds"].closure(asarray(s[0])))).sum() == 7


def test_equal_hierarchies_are_one() -> None:
    edges = np.array(EDGES["diamonds"])
    moved = Hierarchy.fit(asarray(np.concatenate([edges[::-1], edges[:2]]), "int32"), 9)
    assert moved == GRAPHS["diamonds"] and hash(moved) == hash(GRAPHS["diamonds"])
    assert moved != hierarchy_of(EDGES["diamonds"], 10)
    assert moved != GRAPHS["star"]
    assert moved != "diamonds"
    assert moved.num_labels == 9
    assert not moved.edges.flags.writeable


# the loss ----------------------------------------------------------------------------------------


@every_graph
@pytest.mark.parametrize(("masked", "ties"), [(False, False), (True, True)])
def test_value_and_gradient_are_the_oracles(name: str, masked: bool, ties: bool) -> None:
    s, y, where = batch(2, ties)
    rows = [(a, b, EDGES[name], m if masked else None) for a, b, m in zip(s, y, where, strict=True)]
    known = np.array([oracles.effective(*row[1:])[1] for row in rows])
    # whatever is not known, and not known to be off, is harmless
    given = np.where(known, s, np.nan), np.where(where | ~np.bool_(masked), y, np.nan)
    mask = asarray(where) if masked else None
    expected = [oracles.max_constraint(*row) for row in rows]
    actual = compiled(loss_of(name))(*map(asarray, given), where=mask)
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-13)
    if HAS_GRADIENTS:
        expected = [oracles.max_constraint_derivative(*row) for row in rows]
        derivatives = gradient(TOTALS[name], *map(asarray, given), mask)
        np.testing.assert_allclose(derivatives, expected, rtol=1e-12, atol=1e-15)


def test_a_known_not_makes_its_descendants_known() -> None:
    s, y = np.array([0.5, -1.0, 2.0, 3.0]), np.zeros(4)
    hierarchy = hierarchy_of([(1, 0), (2, 1)], 4)
    where = np.array([False, True, False, False])
    value = ml.max_constraint(asarray(s), asarray(y), hierarchy, where=asarray(where))
    # label 2 has a term, and lifts label 1; labels 0 and 3 are unknown
    np.testing.assert_allclose(float(value), 2 * np.logaddexp(0, 2.0), rtol=1e-13)
    y[2] = 1.0  # unseen, as `where` says
    again = ml.max_constraint(asarray(s), asarray(y), hierarchy, where=asarray(where))
    assert float(again) == float(value)
    where[2] = True  # seen: label 1 is on, and so nothing is known not to be
    seen = ml.max_constraint(asarray(s), asarray(y), hierarchy, where=asarray(where))
    np.testing.assert_allclose(float(seen), 2 * np.logaddexp(0, -2.0), rtol=1e-13)


@every_graph
def test_binary_cross_entropy_of_coherent_scores_where_nothing_is_on(name: str) -> None:
    s, y, _ = batch(3)
    expected = ml.binary_cross_entropy(GRAPHS[name].coherent(asarray(s)), asarray(0 * y))
    actual = loss_of(name)(asarray(s), asarray(0 * y))
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=1e-14)
    everything = ml.binary_cross_entropy(GRAPHS[name].coherent(asarray(s)), asarray(0 * y + 1))
    actual = loss_of(name)(asarray(s), asarray(0 * y + 1))
    np.testing.assert_allclose(to_numpy(actual), to_numpy(everything), rtol=1e-14)


@with_gradients
@every_graph
def test_equal_logits_have_the_gradient_of_binary_cross_entropy(name: str) -> None:
    s, y, _ = batch(4)
    closed = np.array([oracles.closure(row, EDGES[name]) for row in y])
    derivatives = gradient(TOTALS[name], asarray(0 * s), asarray(y), None)
    np.testing.assert_allclose(derivatives, 0.5 - closed, rtol=1e-15)


def test_infinite_logits() -> None:
    _, y, _ = batch(5)
    closed = np.array([oracles.closure(row, EDGES["graph"]) for row in y])
    right = np.where(closed > 0, np.inf, -np.inf)
    assert (to_numpy(loss_of("graph")(asarray(right), asarray(y))) == 0).all()
    assert (to_numpy(loss_of("graph")(asarray(-right), asarray(y))) == np.inf).all()
    if HAS_GRADIENTS:
        for s in (right, -right):
            derivatives = gradient(TOTALS["graph"], asarray(s), asarray(y), None)
            expected = [
                oracles.max_constraint_derivative(a, b, EDGES["graph"])
                for a, b in zip(s, y, strict=True)
            ]
            np.testing.assert_array_equal(derivatives, expected)


def test_sum_of_the_gradient_is_that_of_the_terms() -> None:
    """Each maximum hands on its whole derivative, in a chain of many levels too."""
    depth = 1000
    hierarchy = hierarchy_of([(i, i - 1) for i in range(1, depth)], depth)
    s = np.random.default_rng(6).normal(size=depth)
    expected = np.maximum.accumulate(s[::-1])[::-1]
    coherent = compiled(hierarchy.coherent)(asarray(s))
    np.testing.assert_array_equal(to_numpy(coherent), expected)
    if HAS_GRADIENTS:
        derivatives = gradient(lambda s: xp.sum(hierarchy.coherent(s)), asarray(s))
        assert derivatives.sum() == depth
        winners = [i for i in range(depth) if i == 0 or s[i] >= expected[i]]
        assert set(np.flatnonzero(derivatives)) <= set(winners)


def test_many_labels_and_edges() -> None:
    """Against paths that are followed label by label."""
    num_labels = 20_000
    rng = np.random.default_rng(7)
    parents = np.array([rng.integers(0, i // 8 + 1) for i in range(1, num_labels)])
    edges = np.stack([np.arange(1, num_labels), parents], axis=1)
    hierarchy = Hierarchy.fit(asarray(edges), num_labels)
    s = rng.normal(size=(2, num_labels))
    expected = s.copy()
    for child, parent in edges[::-1]:
        expected[:, parent] = np.maximum(expected[:, parent], expected[:, child])
    np.testing.assert_array_equal(to_numpy(hierarchy.coherent(asarray(s))), expected)


@only_jax
def test_memory_is_that_of_labels_and_edges(users_compiler: None) -> None:
    import jax

    num_labels, n = 20_000, 8
    edges = np.stack([np.arange(1, num_labels), np.arange(num_labels - 1) // 3], axis=1)
    hierarchy = Hierarchy(edges, num_labels)

    def value(s: Any, y: Any) -> Any:
        return ml.max_constraint(s, y, hierarchy).sum()

    with jax.enable_x64(False):
        s = jax.ShapeDtypeStruct((n, num_labels), "float32")
        y = jax.ShapeDtypeStruct((n, num_labels), "bool")
        program = jax.jit(jax.value_and_grad(value)).lower(s, y).compile()
    cells = n * (num_labels + len(edges))
    # two numbers and a class for each, and room for the steps of a level
    assert program.memory_analysis().temp_size_in_bytes <= 16 * cells


@only_jax
def test_static_or_closed_over_under_jit() -> None:
    import jax

    s, y, _ = batch(8)
    s, y = asarray(s), asarray(y)
    expected = loss_of("diamonds")(s, y)
    traces = []

    @partial(jax.jit, static_argnums=2)
    def value(s: Any, y: Any, hierarchy: Hierarchy) -> Any:
        traces.append(hierarchy)
        return ml.max_constraint(s, y, hierarchy)

    for _ in range(2):
        actual = value(s, y, hierarchy_of(EDGES["diamonds"], 9))
        np.testing.assert_allclose(actual, expected, rtol=1e-14)
    assert len(traces) == 1
    with pytest.raises(TypeError, match="the values of edges are needed: call this outside jit"):
        jax.jit(lambda edges: Hierarchy.fit(edges, 9).closure(y))(np.array([[1, 0]]))


@only_jax
def test_split_over_the_batch_and_refused_over_labels() -> None:
    import jax

    s, y, _ = batch(9)
    mesh = jax.make_mesh((1,), ("devices",))
    split = ml.sharded(ml.max_constraint, mesh, batch="devices")
    actual = split(asarray(s), asarray(y), GRAPHS["graph"])
    np.testing.assert_allclose(actual, loss_of("graph")(asarray(s), asarray(y)), rtol=1e-13)
    with pytest.raises(ValueError, match="max_constraint cannot be split over labels: it looks"):
        ml.sharded(ml.max_constraint, mesh, labels="devices")(
            asarray(s), asarray(y), GRAPHS["graph"]
        )


@pytest.mark.skipif(NAME != "torch", reason="PyTorch's compiler")
@pytest.mark.filterwarnings("ignore:.*Function.*should not be instantiated")  # Dynamo does
def test_compiled_in_a_chain_of_many_labels() -> None:
    """In one piece, and mapped; each level written out would take minutes."""
    import torch

    depth = 300
    hierarchy = hierarchy_of([(i, i - 1) for i in range(1, depth)], depth)
    rng = np.random.default_rng(11)
    s, y = asarray(rng.normal(size=(3, depth))), asarray(rng.random((3, depth)) < 0.01)

    def loss(s: Any) -> Any:
        return ml.max_constraint(s, y, hierarchy)

    def mapped(s: Any) -> Any:
        return torch.func.vmap(hierarchy.coherent)(s)

    torch._dynamo.reset()
    for function in (loss, mapped):
        program = torch.compile(function, fullgraph=True, backend="aot_eager")
        expected = gradient(lambda s, f=function: (f(s) ** 2).sum(), s)
        actual = gradient(lambda s, f=program: (f(s) ** 2).sum(), s)
        np.testing.assert_allclose(actual, expected, rtol=1e-13)


# errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "error", "message"),
    [
        ([[1, 0], [2, 1], [0, 2], [3, 0]], ValueError,
         "edges have a cycle, from child to parent: 0 -> 2 -> 1 -> 0"),
        ([[0, 1], [3, 3]], ValueError, "edges have a cycle, from child to parent: 3 -> 3"),
        ([[1, 0], [2, 4]], ValueError, r"labels in 0..3, got 4 at index \(1, 1\)"),
        ([[1, 0], [-1, 0]], ValueError, r"labels in 0..3, got -1 at index \(1, 0\)"),
        ([1, 0], ValueError, r"edges must have shape \[E, 2\], \(child, parent\), got \(2,\)"),
        ([[1.0, 0.0]], TypeError, "edges must be integers, got dtype float64"),
    ],
)  # fmt: skip
def test_wrong_edges_are_named(edges: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Hierarchy.fit(asarray(edges), 4)


def test_a_cycle_is_one_of_the_edges() -> None:
    """Also where labels lead into it, and out of it."""
    edges = [(1, 0), (2, 1), (3, 2), (4, 3), (2, 4), (5, 4), (6, 5), (1, 6)]
    with pytest.raises(ValueError, match="cycle") as raised:
        hierarchy_of(edges, 7)
    path = [int(label) for label in str(raised.value).rpartition(": ")[2].split(" -> ")]
    assert path[0] == path[-1] and len(path) > 2
    assert {*pairwise(path)} <= set(edges)


def test_wrong_arguments_are_named() -> None:
    s, y, _ = (asarray(x) for x in batch(10))
    graph = GRAPHS["graph"]
    with pytest.raises(TypeError, match="hierarchy must be a Hierarchy, got list"):
        ml.max_constraint(s, y, [[1, 0]])  # type: ignore[arg-type]
    few = s[:, :5], y[:, :5]
    message = r"must have the labels of the hierarchy, shape \[..., 9\], got \(12, 5\)"
    with pytest.raises(ValueError, match="logits " + message):
        ml.max_constraint(*few, graph)
    with pytest.raises(ValueError, match="logits " + message):
        graph.coherent(few[0])
    with pytest.raises(ValueError, match="targets " + message):
        graph.closure(few[1])
    with pytest.raises(TypeError, match="logits must be floating-point"):
        graph.coherent(asarray(np.ones(9, dtype=int)))
    with pytest.raises(ValueError, match="num_labels must be at least 0, got -1"):
        Hierarchy(np.zeros((0, 2), dtype=int), -1)
    with pytest.raises(TypeError, match=r"num_labels must be an integer, got 2\.5"):
        Hierarchy(np.zeros((0, 2), dtype=int), 2.5)  # type: ignore[arg-type]
