"""The pages of the API reference: every public name, by family, and the metrics."""

from __future__ import annotations

import mlc_losses as ml
from docs.site.catalog import TOOLS, check_complete, names_in, path_of, slug
from tests.losses.families import FAMILIES

METRICS = "Metrics"


def pages() -> dict[str, tuple[str, str]]:
    """The path of each page, its title and its Markdown."""
    check_complete()
    groups = {title: names_in(rooms) for title, rooms in (FAMILIES | TOOLS).items()}
    intro = {METRICS: f"`mlc_losses.metrics`: {ml.metrics.__doc__}\n"}
    groups[METRICS] = list(ml.metrics.__all__)
    return {
        f"api/{slug(title)}.md": (title, _page(title, intro.get(title, ""), names))
        for title, names in groups.items()
    }


def index(pages: dict[str, tuple[str, str]]) -> str:
    """All names at a glance."""
    lines = ["# API reference", "", f"`import mlc_losses as ml`: {ml.__doc__.splitlines()[0]}", ""]
    for path, (title, text) in pages.items():
        names = [line.split()[-1] for line in text.splitlines() if line.startswith(":::")]
        links = ", ".join(f"[`{name.rpartition('.')[2]}`][{name}]" for name in names)
        lines += [f"**[{title}]({path.removeprefix('api/')})**", "", links, ""]
    return "\n".join(lines)


def _page(title: str, intro: str, names: list[str]) -> str:
    return "\n\n".join([f"# {title}", intro, *(f"::: {path_of(name)}" for name in names), ""])
