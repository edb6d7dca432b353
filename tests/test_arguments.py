"""What may be given for an argument, and what is said where it may not."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import mlc_losses as ml
from tests.losses.names import LOSSES
from tests.losses.test_losses import all_here, every_case, every_loss, here
from tests.support.backends import NAME, asarray, to_numpy, xp
from tests.support.case import Case

X, Y = np.array([[1.0, -2.0, 3.0]]), np.array([[1, 0, 1]])
only_jax = pytest.mark.skipif(NAME != "jax", reason="JAX and NumPy together")
only_torch = pytest.mark.skipif(NAME != "torch", reason="PyTorch's layouts")


def binary_with(name: str, *weights: float) -> Any:
    return lambda s, y: ml.binary_cross_entropy(s, y, **{name: asarray(weights)})


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s, y: ml.zlpr(0.5, 1), TypeError, "logits must be an array .*, got float 0.5"),
        (lambda s, y: ml.zlpr(1.0, y), TypeError, "logits must be an array .*, got float 1.0"),
        (lambda s, y: ml.zlpr(s, 1), TypeError, "targets must be an array .*, got int 1"),
        (
            lambda s, y: ml.zlpr(s, y, threshold=float("nan")),
            ValueError,
            "threshold must be a finite number, got nan",
        ),
        (
            lambda s, y: ml.zlpr(s, y, axis=None),
            TypeError,
            "axis must be an integer, got None",
        ),
        (lambda s, y: ml.zlpr(s, y, axis=2), ValueError, r"axis must be in -2\.\.1, got 2"),
        (lambda s, y: ml.zlpr(s, y, threshold=np.inf), ValueError, "threshold .*finite.*got inf"),
        (
            lambda s, y: ml.top_k_hinge(s[:, :1], y[:, 1], 1),
            ValueError,
            "k is 1, but there are too few labels for any k",
        ),
        (
            lambda s, y: ml.softmax_cross_entropy(s, s[:, 0]),
            TypeError,
            "labels must be integers, got dtype .*; convert them to an integer dtype",
        ),
        (
            binary_with("pos_weight", 1.0, -1.0, 1.0),
            ValueError,
            r"pos_weight must be finite and at least 0, got -1 at index \(1,\)",
        ),
        (binary_with("pos_weight", 1.0, 1.0, np.nan), ValueError, "pos_weight .*got nan"),
        (binary_with("label_weights", np.inf, 1.0, 1.0), ValueError, "label_weights .*got inf"),
        (
            lambda s, y: ml.metrics.label_propensities(-y[0, :], 10),
            ValueError,
            r"counts must be finite and at least 0, got -1 at index \(0,\)",
        ),
        (
            lambda s, y: ml.masked_mean(s, s),
            TypeError,
            "where must be bool .*, got dtype .*sum",
        ),
        (
            lambda s, y: ml.zlpr(s, y, where=s[:, :2] > 0),
            ValueError,
            r"got \(1, 3\) and \(1, 2\); a where of whole examples has shape \(1, 1\)",
        ),
    ],
)  # fmt: skip
def test_misuse_is_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(asarray(X), asarray(Y))


LABELS, COUNTS = np.array([0]), np.array([5, 1, 2])


def arrays_of(function: Any) -> dict[str, Any]:
    """A call of it by the names of its arguments, those without a default."""
    known = {
        "targets": Y, "labels": LABELS, "set_ids": LABELS, "counts": COUNTS, "weights": X[:, :1],
        "embeddings": X, "anchors": X, "positives": X, "prototypes": np.eye(3), "k": 1,
        "margins": X[0], "num_examples": 10, "predictions": Y, "propensities": X[0] ** 2,
        "step_logits": X[:, None, :], "ids": np.array([[-1]]), "expected": 1.0, "fraction": 0.5,
        "threshold": 0.0, "probabilities": X**2 / 10, "num_classes": 3, "values": X[0, :1],
        "num_labels": 3, "max_labels": 3, "epsilon": 0.1, "recall": 0.5,
        "hierarchy": ml.Hierarchy(np.zeros((0, 2), int), 3),
    }  # fmt: skip
    given = inspect.signature(function).parameters.values()
    wanted = [p.name for p in given if p.default is p.empty]
    call = {name: known.get(name, X) for name in wanted}
    if function is ml.label_set_sequence:
        call["targets"] = Y[:, :2]
    return {k: asarray(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}


# those of `scale/` and the queue have tests of their own
ELSEWHERE = {
    *("init_queue", "enqueue", "queue_mask", "sharded", "label_block_loss", "linear_loss"),
    "predict_linear_top_k",
}
FUNCTIONS = {
    name: function
    for module in (ml, ml.metrics)
    for name in module.__all__
    if name not in ELSEWHERE and inspect.isfunction(function := getattr(module, name))
}
OPTIONAL = (
    *("where", "sample_weight", "pos_weight", "label_weights", "class_weights"),
    *("candidates", "denominator", "keys", "key_targets", "key_where"),
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_array_is_named(name: str) -> None:
    """Of each array that a public function takes, before anything is computed."""
    function, call = FUNCTIONS[name], arrays_of(FUNCTIONS[name])
    takes = inspect.signature(function).parameters
    wrong: list[tuple[str, Any]] = []
    for key, x in call.items():
        if hasattr(x, "dtype"):
            wrong += [(key, None), (key, [1.0]), (key, "abc"), (key, asarray(to_numpy(x) * 1j))]
    wrong += [(key, other) for key in OPTIONAL if key in takes for other in ([1.0], "abc")]
    wrong += [(key, asarray([1j])) for key in OPTIONAL[:-3] if key in takes]
    call |= {"method": "exact"} if "noise" in takes else {}
    keys = {"keys": asarray(X), "key_targets": asarray(Y)}
    for key, other in wrong:
        pairs = {k: x for k, x in keys.items() if k in takes} if key in OPTIONAL[-3:] else {}
        with pytest.raises(TypeError, match=rf"^{key} must be"):
            function(**{**call, **pairs, key: other})


# of points, and of label sets as sequences or classes
WITHOUT_WHERE = {
    *("contrastive", "supcon", "mulsupcon", "prototype_contrastive", "msc", "mscrg", "n_pair"),
    *("lifted_structure", "label_powerset", "label_sequence", "label_set_sequence"),
}
# of a batch `[n, L]` as a whole, or with a `Hierarchy`
WITHOUT_AXIS = {
    *("soft_f1", "sigmoid_f1", "tversky", "smooth_average_precision", "auc_margin", "role"),
    *("expected_positive", "large_loss", "average_k_two_head", "max_constraint"),
}


def test_every_loss_of_labels_takes_where_and_axis() -> None:
    def lack(argument: str, names: Any, module: Any = ml) -> set[str]:
        signatures = {name: inspect.signature(getattr(module, name)) for name in names}
        return {name for name, found in signatures.items() if argument not in found.parameters}

    assert lack("where", LOSSES) == WITHOUT_WHERE
    assert lack("axis", LOSSES) == WITHOUT_WHERE | WITHOUT_AXIS
    assert not lack("where", ["tune_thresholds", "conformal_threshold", "fit_temperature"])
    assert lack("where", ml.metrics.__all__, ml.metrics) == {"label_propensities"}
    assert lack("sample_weight", ml.metrics.__all__, ml.metrics) == {"label_propensities"}


def named(x: Any) -> str:
    return getattr(x, "__name__", x)


NOT_ONE_NUMBER = [
    (ml.focal, "gamma"),
    (ml.asymmetric, "margin"),
    (ml.circle, "gamma"),
    (ml.supcon, "temperature"),
    (ml.inverse_frequency_weights, "power"),
    (ml.smooth_targets, "epsilon"),
    (ml.predict_expected_f, "scale"),
]


@pytest.mark.parametrize(("function", "name"), NOT_ONE_NUMBER, ids=named)
def test_what_is_no_number_is_named(function: Any, name: str) -> None:
    call = arrays_of(function)
    wrong: list[tuple[Any, type[Exception], str]] = [
        ("x", TypeError, "must be a number, got str"),
        (asarray([1.0, 2.0]), ValueError, r"must be one number, got an array of shape \(2,\)"),
        (asarray(np.array(1j)), TypeError, "must be a number, got dtype .*complex"),
        (np.inf, ValueError, "must be (finite|in )"),
        (np.nan, ValueError, "must be .*, got nan"),
    ]
    for value, error, words in wrong:
        with pytest.raises(error, match=f"^{name} {words}"):
            function(**{**call, name: value})
    # of one number, with an axis, it is that number
    value = call.get(name, 0.5)
    one, other = (function(**{**call, name: x}) for x in (value, asarray([value])))
    assert one.shape == other.shape
    np.testing.assert_allclose(to_numpy(other), to_numpy(one), rtol=1e-6)


OPTIONS = [
    (ml.top_k_hinge, "kind"),
    (ml.large_loss, "mode"),
    (ml.supcon, "positives"),
    (ml.perturbed_kth_largest, "method"),
    (ml.average_k_pseudo_labels, "rule"),
    (ml.tune_thresholds, "metric"),
    (ml.metrics.f1_score, "average"),
    (ml.pairwise_hinge, "normalize"),
    (ml.splc, "correct"),
    (ml.mscrg, "regularize"),
    (ml.valid_anchors, "prototypes"),
    (ml.check_targets, "soft"),
]


@pytest.mark.parametrize(("function", "name"), OPTIONS, ids=named)
def test_what_is_no_option_is_named(function: Any, name: str) -> None:
    call = arrays_of(function)
    for wrong in ("no", [True], asarray([1.0, 2.0])):
        with pytest.raises(ValueError, match=f"^{name} must be one of .*, got"):
            function(**{**call, name: wrong})


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s, y: ml.queue_mask((s, y)), TypeError, "queue must be what init_queue or .*tuple"),
        (lambda s, y: ml.enqueue(s, s, y), TypeError, "queue must be what init_queue or enqueue"),
        (lambda s, y: ml.linear_loss("zlpr", s, s, None, y), TypeError, "loss must be a function"),
        (
            lambda s, y: ml.linear_loss(ml.zlpr, s.T, s, None, y[0, :][:, None], weights=-s[0, :]),
            ValueError,
            "weights must be finite and at least 0, got -1",
        ),
        (
            lambda s, y: ml.contrastive(s, s[:, :1], denominator=-s[0, :1]),
            ValueError,
            "denominator must be finite and at least 0, got -1",
        ),
        (
            lambda s, y: ml.softmax_cross_entropy(s[:, :0], y[:, 0]),
            ValueError,
            "labels must be class ids, but the label axis has length 0",
        ),
        (lambda s, y: ml.label_ids(y[0, 0], 2), ValueError, "targets must have a label axis"),
        (
            lambda s, y: ml.r_drop(s, s[:, :2], y),
            ValueError,
            r"logits and other_logits must have the same shape, got \(1, 3\) and \(1, 2\)",
        ),
        (
            lambda s, y: ml.valid_anchors(y, key_where=y[:, 0] > 0),
            ValueError,
            "key_where needs key_targets",
        ),
        (
            lambda s, y: ml.metrics.label_propensities(y, 10),
            ValueError,
            r"counts must be an array of shape \[L\], got \(1, 3\)",
        ),
        (
            lambda s, y: ml.order_labels(y, -s[0, :], 2),
            ValueError,
            r"counts must be finite and at least 0, got -1 at index \(0,\)",
        ),
    ],
)  # fmt: skip
def test_other_misuse_is_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(asarray(X), asarray(Y))


@only_torch
@every_loss
def test_tensors_on_two_devices_are_named(case: Case) -> None:
    arrays, keywords = case.draw(27)
    *logits, targets = (here(x) for x in arrays)
    words = r"on one device, got \w+ on cpu and (\w+) on meta; write \1\.to\("
    with pytest.raises(ValueError, match=words):
        case.loss(*logits, targets.to("meta"), **all_here(keywords))


@pytest.mark.skipif(NAME not in ("numpy", "jax"), reason="NumPy's dtypes")
def test_objects_of_numpy_are_refused() -> None:
    wrong = np.ones(3).astype(object), np.ones(3).astype(str)
    for weights in wrong:
        with pytest.raises(TypeError, match="pos_weight must be bool, integer or float, got dtype"):
            ml.binary_cross_entropy(asarray(X), asarray(Y), pos_weight=weights)
        with pytest.raises(TypeError, match="targets must be bool, integer or float, got dtype"):
            ml.zlpr(asarray(X), weights[None])
        with pytest.raises(TypeError, match="values must be bool, integer or float, got dtype"):
            ml.masked_mean(weights)


@only_jax
def test_a_key_of_random_numbers_is_no_array() -> None:
    import jax

    with pytest.raises(TypeError, match="targets must be an array of numbers, got a key of random"):
        ml.zlpr(asarray(X), jax.random.key(0))


@only_torch
@pytest.mark.parametrize("name", ["logits", "targets"])
def test_sparse_tensors_are_refused(name: str) -> None:
    given = {"logits": asarray(X), "targets": asarray(Y)}
    given[name] = given[name].to_sparse()
    with pytest.raises(TypeError, match=rf"{name} must be a dense tensor, .*{name}.to_dense\(\)"):
        ml.zlpr(**given)
    with pytest.raises(TypeError, match=r"logits of torch, targets of numpy; write torch.asarray"):
        ml.zlpr(asarray(X), Y)


@only_jax
def test_libraries_are_called_by_their_names() -> None:
    import jax

    words = r"got logits of numpy, targets of jax; write jax\.numpy\.asarray\(logits\)"
    with pytest.raises(TypeError, match=words):
        ml.zlpr(X, asarray(Y))
    with pytest.raises(TypeError, match=words):
        jax.jit(lambda y: ml.zlpr(X, y))(asarray(Y))
    with pytest.raises(TypeError, match=r"k must be a Python integer, .*static_argnums"):
        jax.jit(lambda k: ml.top_k_hinge(asarray(X), asarray([0]), k))(1)
    with pytest.raises(TypeError, match=r"k must be a Python number, .*static_argnums"):
        jax.jit(lambda k: ml.average_k_threshold(asarray(X), k))(1.5)
    with pytest.raises(TypeError, match=r"fraction must be a Python number, .*static_argnums"):
        jax.jit(lambda x: ml.large_loss(asarray(X), asarray(Y), x))(0.5)


@only_jax
@every_loss
def test_numpy_arrays_beside_jax_logits(case: Case) -> None:
    """Everything but the first array may be NumPy's, as for `jax.jit`."""
    import jax

    arrays, keywords = case.draw(21)
    mask = {"where": np.ones(arrays[0].shape, bool)} if case.takes_where else {}
    if case.loss.__name__ == "noised_top_k_hinge":  # the noise of the case is made of JAX arrays
        keywords["offsets"] = asarray(keywords["offsets"])

    def loss(logits: Any) -> Any:
        return case.loss(logits, *arrays[1:], **keywords, **mask)

    found = jax.eval_shape(loss, here(arrays[0], "float32"))
    assert found.dtype == "float32"


@only_jax
def test_numpy_arrays_beside_jax_ones_have_the_same_value() -> None:
    s, weights, where = asarray(X, "float32"), np.array([1.0, 2.0, 3.0]), Y > 0
    ours = ml.binary_cross_entropy(s, Y, pos_weight=weights, where=where)
    theirs = ml.binary_cross_entropy(
        s, asarray(Y), pos_weight=asarray(weights), where=asarray(where)
    )
    assert float(ours[0]) == float(theirs[0])


@only_jax
def test_numpy_ids_counts_and_targets_beside_jax_arrays() -> None:
    s = asarray(X, "float32")
    assert float(ml.softmax_cross_entropy(s, np.array([2]))[0]) == pytest.approx(0.1328, abs=1e-4)
    assert ml.label_powerset(s, np.array([2])).dtype == "float32"
    assert ml.label_sequence(s[None, :, :][:, [0, 0], :], np.array([[1]])).dtype == "float32"
    assert ml.soft_f1(s, Y).dtype == "float32"
    assert ml.logit_adjust(s, np.array([1, 2, 3])).dtype == "float32"
    assert ml.order_labels(asarray(Y), np.array([1, 2, 3]), 2).tolist() == [[2, 0]]


@only_jax
def test_numpy_targets_beside_jax_scores_of_metrics_and_decisions() -> None:
    s = asarray(X, "float32")
    assert ml.tune_thresholds(s, Y).dtype == "float32"
    assert float(ml.metrics.f1_score(s > 0, Y, average="micro")) == 1.0
    assert float(ml.metrics.precision_at_k(s, Y, 2)) == 1.0
    assert float(ml.metrics.top_k_accuracy(s, np.array([2]), 1)) == 1.0


@every_loss
def test_numpy_numbers_as_hyper_parameters(case: Case) -> None:
    arrays, keywords = case.draw(22)
    ours = {k: np.float32(v) if isinstance(v, float) else v for k, v in keywords.items()}
    rounded = {k: float(v) if isinstance(v, np.float32) else v for k, v in ours.items()}
    if rounded == keywords and not any(isinstance(v, float) for v in keywords.values()):
        ours |= {"threshold": np.float64(0.3)} if case.loss is ml.zlpr else {}
        rounded |= {"threshold": 0.3} if case.loss is ml.zlpr else {}
    inputs = [here(x) for x in arrays]

    def loss(keywords: Any) -> Any:
        return case.loss(*inputs, **all_here(keywords))

    if NAME == "jax":
        import jax

        assert jax.eval_shape(lambda: loss(ours)) == jax.eval_shape(lambda: loss(rounded))
    else:
        np.testing.assert_array_equal(to_numpy(loss(ours)), to_numpy(loss(rounded)))


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("loss", [ml.zlpr, ml.calibrated_ranking])
def test_a_threshold_for_all_examples_is_a_number(loss: Any, shape: tuple[int, ...]) -> None:
    """Of NumPy too, and with an axis, as every other hyper-parameter."""
    s, y = (asarray(np.concatenate([x, -x])) for x in (X, Y))
    expected = to_numpy(loss(s, y, threshold=0.3))
    for threshold in (np.full(shape, 0.3), asarray(np.full(shape, 0.3))):
        np.testing.assert_array_equal(to_numpy(loss(s, y, threshold=threshold)), expected)


# not among them: what decides how many there are, and is looked at
NUMBERS_ALONE = ("share", "fraction", "num_examples")


def array_parameters(case: Case) -> dict[str, float]:
    """The hyper-parameters that may be an array of one number."""
    return {
        name: value
        for name, value in case.keywords.items()
        if isinstance(value, float) and name not in NUMBERS_ALONE
    }


def of_parameters(case: Case, inputs: Any, keywords: Any) -> Any:
    return lambda given: case.loss(*inputs, **{**keywords, **given})


@pytest.mark.skipif(NAME not in ("jax", "torch"), reason="a hyper-parameter of JAX or PyTorch")
@every_case
def test_arrays_of_one_number_as_hyper_parameters(case: Case) -> None:
    """Of any dtype, traced too: the logits alone decide the dtype of the result."""
    arrays, keywords = case.draw(25)
    loss = of_parameters(
        case, [here(x, "float32") for x in arrays], all_here(keywords, dtype="float32")
    )
    for dtype in ("float32", "float64"):
        given = {name: asarray(x, dtype) for name, x in array_parameters(case).items()}
        if NAME == "jax":
            import jax

            assert jax.eval_shape(loss, given).dtype == xp.float32
        else:
            expected = to_numpy(loss({}))
            found = loss(given)
            assert found.dtype == xp.float32
            np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5, atol=1e-6)


@only_torch
@every_case
def test_derivative_by_a_hyper_parameter(case: Case) -> None:
    """Or none, where the docstring says so; never NaN."""
    import torch

    arrays, keywords = case.draw(26)
    loss = of_parameters(case, [here(x) for x in arrays], all_here(keywords))
    for name, value in array_parameters(case).items():
        if name == "sigma" or case.fixed_weights or value == 0:
            continue  # a constant, or weights that follow it are; or at the end of its range
        variable = asarray(value).requires_grad_()
        total = loss({name: variable}).sum()
        # a choice that it decides has no derivative
        found = torch.autograd.grad(total, variable)[0] if total.requires_grad else 0.0
        ends = [float(loss({name: value + step}).sum()) for step in (1e-6, -1e-6)]
        expected = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(float(found), expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_numpy_numbers_decide_too() -> None:
    scores = asarray(X, "float32")
    for threshold in (np.float64(2.0), np.int64(2)):
        assert to_numpy(ml.predict_threshold(scores, threshold)).tolist() == [[False, False, True]]
        assert ml.zlpr(scores, asarray(Y), threshold=threshold).dtype == xp.float32
    assert ml.asymmetric(scores, asarray(Y), margin=np.bool_(False)).dtype == xp.float32


@only_jax
def test_a_traced_margin() -> None:
    import jax

    s, y = asarray(X), asarray(Y)
    run = jax.jit(lambda margin: ml.asymmetric(s, y, margin=margin))
    for margin in (0.0, 0.05):
        expected = to_numpy(ml.asymmetric(s, y, margin=margin))
        np.testing.assert_allclose(run(margin), expected, rtol=1e-12)
