"""From the records of a comparison to what the claims are judged by: runs, and measured costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from examples.studies.claims.rule import Run

EXTREME_LABELS = 1_000_000
# metrics made of two: how much better one group of examples or classes is served than another
AMBIGUITY, RARITY = "at 6+ answers less at 2", "few-shot less many-shot"


def compared(records: Any) -> list[Run]:
    """Of `compare_losses.py` and `contrastive.py`; "at 0" is with the threshold 0."""
    runs = []
    for r in records:
        at_zero = {f"{name} at 0": value for name, value in r.get("test at 0", {}).items()}
        runs.append(Run(r["data"], r["loss"], r["seed"], {**r["test"], **at_zero}))
    return runs


def powersets(records: Any) -> list[Run]:
    return [
        Run(data, method, seed, numbers)
        for data, results in records["quality"].items()
        for seed, result in enumerate(results)
        for method, numbers in result.items()
        if isinstance(numbers, Mapping)
    ]


def sequences(records: Any) -> list[Run]:
    return [
        Run(data, method, seed, numbers)
        for data, method, results in records
        for seed, numbers in enumerate(results)
    ]


def top_k(records: Any) -> list[Run]:
    """Trained for K = 5, five guesses."""
    names = {"accuracy": "top-5 accuracy", "class mean": "top-5 accuracy, mean over classes"}
    return [
        Run(r["data"], r["loss"], r["seed"], {names.get(n, n): v for n, v in found.items()})
        for r in records
        if r["k"] == 5 and (found := r["test"].get("5"))
    ]


def average_k(records: Any) -> list[Run]:
    """At K = 5, every method at the threshold of its own that gives a mean set size of 5."""
    runs = []
    for r in records:
        if r["k"] == 5:
            numbers = dict(r["equal"])
            for name, (high, low) in {
                AMBIGUITY: ("6 and more answers", "2 answers"),
                RARITY: ("few", "many"),
            }.items():
                if high in numbers and low in numbers:
                    numbers[name] = numbers[high] - numbers[low]
            runs.append(Run(r["data"], r["method"], r["seed"], numbers))
    return runs


RUNS: dict[str, Callable[[Any], list[Run]]] = {
    "compare_losses": compared,
    "which_loss": lambda records: records["runs"],
    "powerset": powersets,
    "sequence": sequences,
    "top_k": top_k,
    "average_k": average_k,
    "contrastive": compared,
}


# costs, which have no seeds


def powerset_cost(field: str) -> Callable[[Any], dict[str, float]]:
    """The powerset's cost as a multiple of that of zlpr, from few label sets to many."""

    def measured(records: Any) -> dict[str, float]:
        costs = sorted(records["costs"].items(), key=lambda item: item[1]["sets"])
        return {
            f"{name.split()[0]}, {cost['sets']} sets": cost["powerset, likeliest set"][field]
            / cost["zlpr"][field]
            for name, cost in costs
        }

    return measured


def time_ratio(above: str, below: str) -> Callable[[Any], dict[str, float]]:
    """One cell of the speed table over another. `{L}` and `{k}` stand for all there are."""

    def measured(records: Any) -> dict[str, float]:
        result = {}
        for classes in (100, 1000, 10_000):
            for k in (5, 20):
                cells = [records.get(name.format(L=classes, k=k), {}) for name in (above, below)]
                if all("ms" in cell for cell in cells):
                    result[f"L = {classes}, k = {k}"] = cells[0]["ms"] / cells[1]["ms"]
        return result

    return measured


def of_extreme(names: Mapping[str, str]) -> Callable[[Any], dict[str, float]]:
    def measured(records: Any) -> dict[str, float]:
        results = [r["result"] for r in records if r["labels"] == EXTREME_LABELS]
        return {shown: r[name] for r in results for name, shown in names.items()}

    return measured
