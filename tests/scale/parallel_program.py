"""Run by `test_data_parallel`: one of two processes of PyTorch, each with half of every batch.

python -m tests.scale.parallel_program NUMBER PORT CHECK
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
import torch.distributed
from torch.distributed.nn.functional import all_gather
from torch.nn.parallel import DistributedDataParallel

from tests.losses.cases import CASES
from tests.scale import parallel_linear
from tests.support.case import Case, with_prototypes

N, L, PROCESSES = 8, 7, 2
COMPILED = ("two_way",)  # with the rows gathered outside


def of_all(x: torch.Tensor) -> torch.Tensor:
    """The rows of all processes; each gets the gradient of its own."""
    return torch.cat(all_gather(x.contiguous()))


def mean_and_gradient(
    case: Case, model: Any, layer: Any, own: slice, together: bool, compiled: bool = False
) -> Any:
    """The mean of the loss over the batch, and its gradient by the layer that makes the logits."""
    (inputs, *rest), keywords = case.draw(0, n=N, num_labels=L)
    rest = [torch.asarray(x) for x in rest]
    outputs = model(torch.asarray(inputs)[own])
    # prototypes are parameters, of which every process has all
    of_rows = [x[own] if case.arrays is not with_prototypes or x is rest[-1] else x for x in rest]
    if together:
        outputs = of_all(outputs)
        of_rows = [of_all(x) if len(x) == N // PROCESSES else x for x in of_rows]
    layer.weight.grad = None
    loss = torch.compile(case.loss, fullgraph=True, backend="eager") if compiled else case.loss
    mean = loss(outputs, *of_rows, **keywords).mean()
    mean.backward()
    return mean.detach(), layer.weight.grad.clone()


def check_across_batch(rows: slice, processes: int) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(L, L, bias=False, dtype=torch.float64)
    parallel = DistributedDataParallel(layer)
    differ = []
    for case in CASES:
        if not case.across_batch:
            continue
        wanted = mean_and_gradient(case, layer, layer, slice(None), together=False)
        found = mean_and_gradient(case, parallel, layer, rows, together=True)
        for alone, many in zip(wanted, found, strict=True):
            torch.testing.assert_close(many, alone, rtol=1e-10, atol=1e-12, msg=case.id)
        if case.loss.__name__ in COMPILED:
            again = mean_and_gradient(case, parallel, layer, rows, together=True, compiled=True)
            torch.testing.assert_close(again, found, msg=case.id)
        apart = mean_and_gradient(case, parallel, layer, rows, together=False)
        differ.append(not torch.allclose(apart[1], wanted[1]))
    # what the recipe is for
    assert any(differ)


# each with the number of rows, of which a process gets its part
CHECKS = {
    "across_batch": (check_across_batch, N),
    "linear": (parallel_linear.check, parallel_linear.N),
}


def main(number: int, port: str, name: str) -> None:
    address = f"tcp://localhost:{port}"
    torch.distributed.init_process_group(
        "gloo", init_method=address, rank=number, world_size=PROCESSES
    )
    check, rows = CHECKS[name]
    check(slice(number * rows // PROCESSES, (number + 1) * rows // PROCESSES), PROCESSES)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
    torch.distributed.barrier()
    # An ordinary exit waits forever in about one run of six: Gloo's destructor joins its thread
    # with the interpreter's lock held, and that thread may be waiting for the lock.
    sys.stdout.flush()
    os._exit(0)
