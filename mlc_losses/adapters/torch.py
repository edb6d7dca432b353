"""A loss as a module of PyTorch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch


class Loss(torch.nn.Module):
    r"""A loss, its hyper-parameters and a reduction, as a module; targets as the loss takes them.

    .. math:: \text{reduction}(\text{loss}(\text{logits}, \text{targets}, \text{hyper}))

    For programs that want an object: a configuration that names a criterion, or
    hyper-parameters that are learnt or that move to a device with the model. A call of the
    function needs none of this.

    Args:
      loss: any loss of the library, or a function that is called like one.
      reduction: from the values of the loss to what ``forward`` returns. ``torch.mean``, as the
        classes of PyTorch have it, if you give none; ``torch.nn.Identity()`` keeps one value per
        example, for :func:`masked_mean` or weights of your own.
      **hyper: hyper-parameters of the loss. A parameter becomes a parameter of the module and a
        tensor a buffer: they move with ``.to``, and are in its ``state_dict``. Each is an
        attribute: ``module.gamma = 1.0`` changes it.

    Raises:
      TypeError: the loss takes no hyper-parameter of that name.
      ValueError: a hyper-parameter has the name of an attribute of ``torch.nn.Module``.

    Shapes, dtypes, behaviour at 0 and infinity, and errors of a call are those of the loss. Only
    the reduction differs from PyTorch's own classes: a loss sums over labels, so that
    ``Loss(binary_cross_entropy)`` is L times ``torch.nn.BCEWithLogitsLoss()``.

    Example:
      >>> import torch
      >>> from mlc_losses import asymmetric
      >>> from mlc_losses.adapters.torch import Loss
      >>> criterion = Loss(asymmetric, gamma_neg=2.0)
      >>> criterion
      Loss(asymmetric, gamma_neg=2.0, reduction=mean)
      >>> logits, targets = torch.tensor([[1.5, -0.5], [-1.0, 0.75]]), torch.eye(2)
      >>> criterion(logits, targets)
      tensor(0.1076)
    """

    def __init__(
        self,
        loss: Callable[..., torch.Tensor],
        *,
        reduction: Callable[[torch.Tensor], torch.Tensor] = torch.mean,
        **hyper: Any,
    ) -> None:
        super().__init__()
        inspect.signature(loss).bind_partial(**hyper)  # a wrong name is known before training
        self.loss = loss
        self.reduction = reduction
        self._names = tuple(hyper)
        for name, value in hyper.items():
            if hasattr(self, name):
                raise ValueError(
                    f"{name} is an attribute of torch.nn.Module: bind it by functools.partial"
                )
            if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, *arrays: torch.Tensor, **keywords: Any) -> torch.Tensor:
        """The reduced loss.

        Args:
          *arrays: what the loss takes in front: ``logits, targets`` for most.
          **keywords: those of one call, such as ``where``; they come before the module's own.

        Returns:
          what the reduction makes of the values.
        """
        own = {name: getattr(self, name) for name in self._names}
        return self.reduction(self.loss(*arrays, **(own | keywords)))

    def extra_repr(self) -> str:
        hyper = [f"{name}={_short(getattr(self, name))}" for name in self._names]
        return ", ".join([_name(self.loss), *hyper, f"reduction={_name(self.reduction)}"])


def _short(value: Any) -> str:
    """Tensors by kind and shape, as PyTorch shows parameters."""
    if isinstance(value, torch.Tensor):
        return f"{type(value).__name__}{list(value.shape)}"
    return repr(value)


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
