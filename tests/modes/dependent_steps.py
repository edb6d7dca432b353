"""How many steps of a lowered program wait for one another because they are those of its loops."""

from __future__ import annotations

from typing import Any


def dependent_steps(lowered: Any) -> int:
    """Of a `jax.stages.Lowered`: loops inside a loop count at each of its steps.

    A loop whose number of steps is not a constant of the program is an error.
    """
    module = lowered.compiler_ir("stablehlo")
    functions = {op.name.value: op for op in module.body.operations}
    return _steps_in(functions["main"], functions)


def _steps_in(op: Any, functions: dict[str, Any]) -> int:
    inner = [
        [_steps_in(child, functions) for block in region.blocks for child in block.operations]
        for region in op.regions
    ]
    name = op.operation.name
    if name == "stablehlo.while":
        return _trips(op.regions[0]) * max(1, sum(inner[1]))
    if name == "func.call":
        return _steps_in(functions[op.callee.value], functions)
    if name in ("stablehlo.case", "stablehlo.if"):
        return max(map(sum, inner))
    return sum(map(sum, inner))


def _trips(condition: Any) -> int:
    """Of a loop that counts up from 0: JAX's own, over slices or so many times."""
    *_, compare, end = condition.blocks[0].operations
    assert str(compare.operation.attributes["comparison_direction"]).endswith("LT>"), condition
    assert end.operands[0] == compare.results[0]
    bound = compare.operands[1].owner
    assert bound.name == "stablehlo.constant", f"not a constant number of steps: {bound}"
    return int(next(iter(bound.attributes["value"])))
