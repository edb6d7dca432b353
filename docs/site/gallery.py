"""The gallery: a page for each loss, and one on which to find it."""

from __future__ import annotations

import re
from functools import cache

from docs.site import support
from docs.site.catalog import ROOT, losses_in
from docs.site.curves import plot
from docs.site.entries import Argument, entry
from docs.site.explorer_selection import SHOWN
from docs.site.figures import figure, thumbnail
from tests.losses.families import FAMILIES, Row, rows


def families() -> dict[str, list[str]]:
    """Titles, and the losses of each, where there are any."""
    found = {title: losses_in(rooms) for title, rooms in FAMILIES.items()}
    return {title: names for title, names in found.items() if names}


def pages() -> dict[str, str]:
    return {"gallery/index.md": _index()} | {f"gallery/{name}.md": page(name) for name in rows()}


def _index() -> str:
    lines = [
        "---\nhide: [toc]\n---",
        "# Gallery of losses",
        f"{len(rows())} losses. Each picture shows the loss against one logit, score or cosine: "
        "a solid line where the moving entry should be high, a dashed one where it should be low.",
        '<input class="filter" type="search" placeholder="Filter: long tail, top-k, cosine ..." '
        'aria-label="Filter the losses" hidden>',
    ]
    for title, names in families().items():
        lines += [f"## {title}", '<div class="cards" markdown>', *map(_card, names), "</div>"]
    return "\n\n".join(lines) + "\n"


def _card(name: str) -> str:
    row = rows()[name]
    use_when = row.use_when[:1].upper() + row.use_when[1:]
    return "\n\n".join(
        ['<div class="card" markdown>', f"[**{name}**]({name}.md)", thumbnail(name),
         use_when, f"<small>Targets: {row.targets}</small>", "</div>"]
    )  # fmt: skip


def page(name: str) -> str:
    row, found = rows()[name], entry(name)
    lines = [
        f"# {name}",
        found.summary,
        _facts(row),
        figure(name),
        f"<small>{_code(plot(name).rest)} The gradient is that of JAX.</small>",
        "## Formula",
        found.introduction,
        "## Arguments",
        *map(_argument, found.arguments),
        "## Result",
        f"{found.returns}",
        "## Errors",
        "\n".join(f"- `{error}`: {text}" for error, text in found.raises),
    ]
    if found.behaviour:
        lines += ["## Gradient, infinity, edge cases", found.behaviour]
    if found.limits:
        lines += ["## Limits that are other losses", found.limits]
    if found.references:
        lines += ["## Paper", found.references]
    lines += ["## Example", f"```pycon\n{found.example}\n```"]
    lines += ["## Backends", support.sentence(name)]
    measured = _measured(name)
    if measured:
        links = ", ".join(f"[{title}](../results/{path})" for path, title in measured)
        lines += ["## Measured", f"Results that name it: {links}."]
    if name in SHOWN:
        # as HTML: what stands behind # is for its script, no place on that page
        lines += [f'<a href="../explorer.html#{name}">Move its logits</a> in the explorer.']
    lines += [f"[Signature with types][mlc_losses.{name}] in the reference."]
    return "\n\n".join(lines) + "\n"


def _facts(row: Row) -> str:
    facts = {"Use when": row.use_when, "Targets": row.targets,
             "Looks across the batch": row.across_batch}  # fmt: skip
    if row.paper:
        facts["Paper"] = row.paper
    return "\n".join(f"- **{key}**: {value}" for key, value in facts.items())


def _argument(argument: Argument) -> str:
    default = "" if argument.default is None else f" = `{argument.default}`"
    return f"`{argument.name}`{default}\n:   {argument.text}"


def _code(text: str) -> str:
    """Backticks as HTML: Markdown is not read inside a block of it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


@cache
def _results() -> dict[str, str]:
    folder = ROOT / "docs" / "results"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}


def _measured(name: str) -> list[tuple[str, str]]:
    """The pages of results that name the loss, with their titles."""
    return [
        (path, short_title(text))
        for path, text in _results().items()
        if path != "index.md" and re.search(rf"`{name}`", text)
    ]


def short_title(text: str) -> str:
    """The heading of a page up to its first colon or comma."""
    heading = next(line for line in text.splitlines() if line.startswith("# "))
    return re.split(r"[:,]", heading.removeprefix("# "))[0].replace("`", "")
