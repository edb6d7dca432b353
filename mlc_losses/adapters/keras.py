"""A loss as a loss of Keras 3."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import mlc_losses


@keras.saving.register_keras_serializable(package="mlc_losses")
class Loss(keras.losses.Loss):
    r"""A loss and its hyper-parameters for ``model.compile``; targets as the loss takes them.

    .. math:: \text{call}(y_\text{true}, y_\text{pred})
              = \text{loss}(y_\text{pred}, y_\text{true}, \text{hyper})

    Keras hands over targets first, and averages. The rest is the loss as it is: ``y_pred`` are
    logits ``[batch, L]``, of a last layer without activation. JAX and PyTorch are served as
    backends of Keras; the arrays of TensorFlow do not follow the array API standard.

    Args:
      loss: any loss of the library that is called as ``loss(logits, targets)``, or a function
        like one. A public loss can be saved with the model.
      where: from the targets to the mask of known labels, such as :func:`known`, which takes -1,
        -100 and NaN for unknown; Keras hands a loss no mask of single labels. Without it all
        labels are known.
      reduction: Keras's own, ``"sum_over_batch_size"``, ``"sum"``, ``"mean_with_sample_weight"``
        or None: Keras reduces after its weights and its mask, and takes no function for that.
      name: for Keras to show; the loss's own if you give none.
      dtype: Keras's own: what targets and logits are converted to, ``floatx`` without.
      **hyper: hyper-parameters of the loss: numbers, strings, and lists or arrays of numbers,
        which become arrays of the backend.

    Returns:
      of ``call``, one value per example, ``[batch]``: Keras weights these by ``sample_weight``
      and by its mask, then reduces them. ``"sum_over_batch_size"`` divides by the number of
      examples, not by the sum of the weights.

    Raises:
      TypeError: the loss takes no hyper-parameter of that name, or one is not a plain number,
        string or list.
      ValueError: the config is asked for, and the loss or ``where`` is not a public name.

    Behaviour at 0 and infinity, and errors of a call, are those of the loss. Keras makes floats of
    class ids; they are made integers again, where the targets lack the label axis. A loss sums
    over labels: ``Loss(binary_cross_entropy)`` is L times
    ``keras.losses.BinaryCrossentropy(from_logits=True)``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import known, zlpr
      >>> from mlc_losses.adapters.keras import Loss
      >>> criterion = Loss(zlpr, where=known)
      >>> targets = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
      >>> logits = np.array([[1.5, -0.5, 2.0], [-1.0, 0.75, -2.5]], dtype="float32")
      >>> round(float(criterion(targets, logits)), 4)
      1.5434
      >>> Loss.from_config(criterion.get_config()).name
      'zlpr'
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        *,
        where: Callable[[Any], Any] | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **hyper: Any,
    ) -> None:
        super().__init__(name or getattr(loss, "__name__", None), reduction, dtype)
        inspect.signature(loss).bind_partial(**hyper)  # a wrong name is known before training
        self.loss = loss
        self.where = where
        self.hyper = {name: _plain(name, value) for name, value in hyper.items()}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        keywords = {name: self._array(value) for name, value in self.hyper.items()}
        is_ids = len(y_true.shape) < len(y_pred.shape)
        if self.where is not None:
            where = self.where(y_true)
            keywords["where"] = where[..., None] if is_ids else where
        targets = keras.ops.cast(y_true, "int32") if is_ids else y_true
        return self.loss(y_pred, targets, **keywords)

    def get_config(self) -> dict[str, Any]:
        own = {"loss": _public_name(self.loss), "hyper": self.hyper, "dtype": self.dtype}
        where = None if self.where is None else _public_name(self.where)
        return super().get_config() | own | {"where": where}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        rest = dict(config)
        loss, where, hyper = (rest.pop(key) for key in ("loss", "where", "hyper"))
        where = None if where is None else _public(where)
        return cls(_public(loss), where=where, **rest, **hyper)

    def _array(self, value: Any) -> Any:
        if isinstance(value, list):
            return keras.ops.convert_to_tensor(value, dtype=self.dtype)
        return value


def _plain(name: str, value: Any) -> Any:
    """As JSON can hold it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if keras.ops.is_tensor(value):
        value = keras.ops.convert_to_numpy(value)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must be a number, a string or a list of numbers, got {type(value).__name__}"
        )
    return array.tolist()


def _public_name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    if name not in dir(mlc_losses) or getattr(mlc_losses, name) is not function:
        raise ValueError(f"{name} is not a public name of mlc_losses: Keras cannot save it")
    return name


def _public(name: str) -> Callable[..., Any]:
    if name not in dir(mlc_losses):
        raise ValueError(f"{name} is not a public name of mlc_losses")
    return getattr(mlc_losses, name)
