"""`linear_loss` in two processes of PyTorch, each with half of the rows; for `parallel_program`."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

from mlc_losses import linear_loss, multi_hot, zlpr

N, D, L = 12, 5, 9


class Network(torch.nn.Module):
    """The head is in the loss, and the loss in the module, so that DDP sees what is used."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Linear(D, D, dtype=torch.float64)
        self.kernel = torch.nn.Parameter(torch.randn(D, L, dtype=torch.float64))
        self.bias = torch.nn.Parameter(torch.randn(L, dtype=torch.float64))

    def forward(self, x: Any, ids: Any, weights: Any, is_dense: bool = False) -> tuple[Any, Any]:
        features = self.body(x)
        features.retain_grad()
        if is_dense:
            values = zlpr(features @ self.kernel + self.bias, multi_hot(ids, L))
            return (weights * values).sum() / weights.sum(), features
        head = features, self.kernel, self.bias
        return linear_loss(zlpr, *head, ids, weights=weights, block_size=4), features


def step(model: Any, network: Network, *batch: Any, share: Any = 1.0) -> tuple[Any, ...]:
    """The mean; its gradient by the features, and by all parameters, those of the body too."""
    network.zero_grad()
    mean, features = model(*batch)
    (share * mean).backward()
    return share * mean.detach(), features.grad, [p.grad.clone() for p in network.parameters()]


def check(rows: slice, processes: int) -> None:
    torch.manual_seed(0)
    network = Network()
    x, ids = torch.randn(N, D, dtype=torch.float64), torch.randint(-1, L, (N, 3))
    parallel = DistributedDataParallel(network)
    for weights in (torch.ones(N), torch.arange(N)):
        weights = weights.double()
        wanted, by_features, by_parameters = step(network, network, x, ids, weights, True)
        # a mean is over the weights of its own rows, and DDP takes the mean of the processes
        share = processes * weights[rows].sum() / weights.sum()
        batch = x[rows], ids[rows], weights[rows]
        mean, by_own_features, found = step(parallel, network, *batch, share=share)
        torch.distributed.all_reduce(mean)
        close(mean / processes, wanted)
        close(by_own_features / processes, by_features[rows])
        for a, b in zip(found, by_parameters, strict=True):
            close(a, b)


def close(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
