"""Train a small network on multi-label data with losses of `mlc_losses`, and compare them.

    python -m examples.train
    python -m examples.train --data path/to/emotions.npz --loss zlpr --set threshold=0.5
    python -m examples.train --loss zlpr --save runs/zlpr.safetensors
    python -m examples.train --load runs/zlpr.safetensors

`model.py` holds the network and its training loop, `data.py` the data, `report.py` and `files.py`
the output.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from typer import Option

import mlc_losses
from examples import data as data_sets
from examples.files import to_json, write_whole
from examples.model import RULES, Loss, Settings, evaluate, fit, from_file, to_bytes
from examples.report import learning_curves, metrics_table

DEFAULTS = Settings()
COMPARED = ["zlpr", "binary_cross_entropy"]
BAR = ("{task.description}", BarColumn(), MofNCompleteColumn(), "epochs", TimeElapsedColumn())
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


def trainable_losses() -> dict[str, Loss]:
    """The public losses of the one call shape, `loss(logits, targets, *, ...)`, by name."""
    public = {name: getattr(mlc_losses, name) for name in mlc_losses.__all__}
    return {
        name: value
        for name, value in public.items()
        if inspect.isfunction(value) and positional_names(value) == ["logits", "targets"]
    }


def positional_names(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def hyper_parameters(loss: Loss) -> list[str]:
    parameters = inspect.signature(loss).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return [name for name in names if name not in ("where", "axis")]


def chosen_loss(name: str, values: dict[str, Any], labels: int) -> Loss:
    """The loss with its hyper-parameters, tried out once so that bad values are reported early."""
    losses = trainable_losses()
    if name not in losses:
        raise typer.BadParameter(
            f"unknown loss {name!r}; valid: {', '.join(losses)}", param_hint="--loss"
        )
    known = hyper_parameters(losses[name])
    for key in values:
        if key not in known:
            raise typer.BadParameter(
                f"{name} has no hyper-parameter {key!r}; valid: {', '.join(known) or 'none'}",
                param_hint="--set",
            )
    loss = partial(losses[name], **values) if values else losses[name]
    try:
        loss(np.zeros((2, labels), np.float32), np.zeros((2, labels), bool))
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(f"{name}: {error}", param_hint="--set") from error
    return loss


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs; a value is JSON (a number, a list of them), or else a string."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is not name=value", param_hint="--set")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        values[name] = np.asarray(value, np.float32) if isinstance(value, list) else value
    return values


def load_data(source: str) -> data_sets.MultiLabelData:
    try:
        return data_sets.load(source)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--data") from error


def train_and_test(
    data: data_sets.MultiLabelData,
    name: str,
    values: dict[str, Any],
    settings: Settings,
    *,
    seed: int = 0,
    rule: str = "threshold",
    k: int | None = None,
    after_epoch: Callable[[], None] = lambda: None,
) -> tuple[Any, dict[str, Any]]:
    """One model and its record; the test split is used once, after training.

    A first fit leaves out the validation part, for the curves and the tuned threshold. The model
    that counts is then trained anew, on the whole training split and for as many epochs.
    """
    labels = data.train_targets.shape[1]
    loss = chosen_loss(name, values, labels)
    if k is None:
        k = max(1, round(float(data.train_targets.sum(axis=1).mean())))
    # a loss with a threshold of its own, such as zlpr, is decided at that threshold
    threshold = float(values.get("threshold", 0.0))
    train = partial(
        fit, data, loss, seed=seed, rule=rule, threshold=threshold, k=k, after_epoch=after_epoch
    )
    model, history = train(settings)
    if settings.validation:
        whole, _ = train(settings._replace(validation=0.0))
        model = whole._replace(decision=model.decision)
    record = {
        "data": data.name,
        "loss": name,
        "hyper_parameters": {key: np.asarray(v).tolist() for key, v in values.items()},
        "settings": settings._asdict(),
        "seed": seed,
        "rule": rule,
        "decision": model.decision.tolist(),
        **history._asdict(),
        "test": evaluate(model, data.test_features, data.test_targets),
    }
    return model, record


def test_loaded(path: Path, source: str | None) -> dict[str, Any]:
    """The record of a saved model, with the test metrics computed anew."""
    try:
        model, record = from_file(path)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--load") from error
    data = load_data(source or record["source"])
    shape = len(model.scaling.shift), model.params[-1]["bias"].shape[1]
    found = data.test_features.shape[1], data.test_targets.shape[1]
    if shape != found:
        raise typer.BadParameter(
            f"{path} is for {shape[0]} features and {shape[1]} labels, "
            f"{data.name} has {found[0]} and {found[1]}",
            param_hint="--data",
        )
    test = evaluate(model, data.test_features, data.test_targets)
    return record | {"data": data.name, "test": test}


def check_choices(
    losses: Sequence[str], rule: str, k: int | None, validation: float, labels: int
) -> None:
    if rule not in RULES:
        raise typer.BadParameter(
            f"unknown rule {rule!r}; valid: {', '.join(RULES)}", param_hint="--decision"
        )
    if rule == "tuned" and validation == 0.0:
        raise typer.BadParameter("tuned needs a validation part", param_hint="--validation")
    if k is not None and not 1 <= k <= labels:
        raise typer.BadParameter(f"k must be in 1..{labels}, got {k}", param_hint="--k")
    if len(set(losses)) < len(losses):
        raise typer.BadParameter("a loss is named twice", param_hint="--loss")


def check_alone(context: typer.Context, path: Path) -> None:
    """A loaded model brings its settings: another option beside it would be ignored."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE" and name not in ("load", "data", "json_"):
            raise typer.BadParameter(
                f"{path} is tested as it is; leave out {name}", param_hint="--load"
            )


@app.command(help=(__doc__ or "").partition("\n")[0])
def main(
    context: typer.Context,
    data: Annotated[str | None, Option(help=f"{data_sets.SOURCES}; default yeast")] = None,
    loss: Annotated[list[str], Option(help="public name; repeat to compare")] = COMPARED,
    set_: Annotated[list[str] | None, Option("--set", help="name=value of the loss")] = None,
    epochs: Annotated[int, Option(min=1)] = DEFAULTS.epochs,
    batch_size: Annotated[int, Option(min=1)] = DEFAULTS.batch_size,
    hidden: Annotated[int, Option(min=1, help="hidden units")] = DEFAULTS.hidden,
    dropout: Annotated[float, Option(min=0, max=0.99)] = DEFAULTS.dropout,
    input_dropout: Annotated[float, Option(min=0, max=0.99)] = DEFAULTS.input_dropout,
    learning_rate: Annotated[float, Option(min=0)] = DEFAULTS.learning_rate,
    weight_decay: Annotated[float, Option(min=0)] = DEFAULTS.weight_decay,
    validation: Annotated[
        float, Option(min=0, max=0.9, help="share of the training split")
    ] = DEFAULTS.validation,
    seed: Annotated[int, Option(min=0)] = 0,
    decision: Annotated[str, Option(help=f"one of {', '.join(RULES)}")] = "threshold",
    k: Annotated[int | None, Option(help="of top-k; default the mean label count")] = None,
    figure: Annotated[Path, Option(dir_okay=False)] = Path("runs/learning_curves.png"),
    json_: Annotated[Path | None, Option("--json", dir_okay=False)] = None,
    save: Annotated[Path | None, Option(dir_okay=False, help="weights; one --loss")] = None,
    load: Annotated[Path | None, Option(help="test saved weights, train nothing")] = None,
) -> None:
    if load:
        check_alone(context, load)
        records = [test_loaded(load, data)]
    else:
        if save and len(loss) > 1:
            raise typer.BadParameter("name one --loss: a file holds one model", param_hint="--save")
        source = data or "yeast"
        rows = load_data(source)
        labels = rows.train_targets.shape[1]
        check_choices(loss, decision, k, validation, labels)
        settings = Settings(
            epochs=epochs,
            batch_size=batch_size,
            hidden=hidden,
            dropout=dropout,
            input_dropout=input_dropout,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            validation=validation,
        )
        values = parse_settings(set_ or [])
        for name in loss:  # all of them before the first one trains
            chosen_loss(name, values, labels)
        records = []
        fits = 2 if validation else 1  # train_and_test says why
        with Progress(*BAR, console=console) as progress:
            tasks = {name: progress.add_task(name, total=fits * epochs) for name in loss}
            for name, task in tasks.items():
                model, record = train_and_test(
                    rows,
                    name,
                    values,
                    settings,
                    seed=seed,
                    rule=decision,
                    k=k,
                    after_epoch=partial(progress.advance, task),
                )
                records.append(record | {"source": source})
        if save:
            write_whole(save, to_bytes(model, records[0]))
            console.print(f"weights: {save}")
        title = f"Learning curves on {rows.name} ({rows.train_targets.shape[1]} labels)"
        write_whole(figure, learning_curves(records, title))
        console.print(f"learning curves: {figure}")
    first = records[0]
    title = f"{first['data']}, test split, decision by {first['rule']}"
    console.print(metrics_table({record["loss"]: record["test"] for record in records}, title))
    if json_:
        write_whole(json_, to_json(records))
        console.print(f"record: {json_}")


if __name__ == "__main__":
    app()
