"""Every public function on a device where no value can be read; prints what fails.

The device is registered with PyTorch before anything else uses it, hence a process of its own.
"""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

from tests.modes.subjects import SUBJECTS, Subject

DEVICE = "unreadable"


def shapes_alone(subject: Subject, device: str) -> None:
    """Value and gradient on a device without values, of the right shape and dtype."""
    value = subject.function(*subject.here())
    arrays = [torch.empty(x.shape, dtype=x.dtype, device=device) for x in subject.here()]
    if subject.has_gradient:
        arrays[0].requires_grad_()
    found = subject.function(*arrays)
    assert (found.shape, found.dtype) == (value.shape, value.dtype)
    assert found.device.type == device
    if subject.has_gradient:
        (gradient,) = torch.autograd.grad(found.sum(), arrays[0])
        assert (gradient.shape, gradient.device.type) == (arrays[0].shape, device)


def main() -> None:
    backend_registration._setup_privateuseone_for_python_backend(DEVICE)
    for subject in SUBJECTS:
        for device in (DEVICE, "cpu"):
            try:
                with FakeTensorMode(allow_non_fake_inputs=True):
                    shapes_alone(subject, device)
            except Exception as error:
                print(f"{subject.id} on {device}: {type(error).__name__}: {error}")
    print(f"checked {len(SUBJECTS)}")


if __name__ == "__main__":
    main()
