"""What MkDocs calls: pages are generated in memory, and nothing is written into docs/."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).parent


def find_modules() -> None:
    """The library, its tests and `docs.site` can be imported, wherever MkDocs was started."""
    root = str(HERE.parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)


find_modules()
import mlc_losses as ml  # noqa: E402
from docs.site import (  # noqa: E402
    api,
    explorer_tables,
    gallery,
    kept,
    llms,
    math_font,
    notebook_pages,
    programs,
    support,
)
from docs.site.catalog import ROOT, path_of  # noqa: E402

TABLES = {
    "<!-- table: docs/site/support.py -->": support.table,
    "<!-- table: tests/modes/modes.py -->": support.modes,
}


def on_config(config: MkDocsConfig) -> None:
    find_modules()  # again: MkDocs takes back the path that it imports a hook with
    families = [
        {title: [f"gallery/{name}.md" for name in names]}
        for title, names in gallery.families().items()
    ]
    _fill(config.nav, "Gallery", ["gallery/index.md", *families])
    _fill(config.nav, "Speed", _by_title("speed*.md", first="speed.md"))
    _fill(config.nav, "Results", _by_title("results/*.md", first="results/index.md"))
    _fill(config.nav, "Examples", _examples())
    entries = [{title: path} for path, (title, _) in api.pages().items()]
    _fill(config.nav, "API", ["api/index.md", *entries])


def on_files(files: Files, config: MkDocsConfig) -> None:
    reference = api.pages()
    texts = {path: text for path, (_, text) in reference.items()}
    for path, text in (texts | gallery.pages() | {"api/index.md": api.index(reference)}).items():
        files.append(File.generated(config, path, content=text))
    for path, content in {**_notebooks(), "assets/formulas.woff": math_font.woff()}.items():
        files.append(File.generated(config, path, content=content))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    if page.parent is None:
        page.meta.setdefault("hide", []).append("navigation")  # it would name this page alone
    for mark, table in TABLES.items():
        if mark in markdown:
            markdown = markdown.replace(mark, table())
    return programs.unfolded(markdown)


def on_env(env: Any, config: MkDocsConfig, files: Files) -> None:
    """llms.txt, once the text of every page is known."""
    entries = [
        llms.Entry(_section(page), page.title, page.url, llms.line_of(page.markdown or ""))
        for page in _in_order(files)
    ]
    paragraph = " ".join((ml.__doc__ or "").split("\n\n")[0].split())
    content = llms.text(config.site_name, paragraph, entries)
    files.append(File.generated(config, "llms.txt", content=content))


def _in_order(files: Files) -> Iterator[Page]:
    """The pages as the navigation has them."""
    pages = [file.page for file in files.documentation_pages() if file.page is not None]
    page = next((page for page in pages if page.is_homepage), None)
    while page is not None:
        yield page
        page = page.next_page


def _section(page: Page) -> str:
    """The highest section that it is in."""
    above = page.ancestors
    return above[-1].title if above else "Guide"


def on_post_build(config: MkDocsConfig) -> None:
    """The tables of the explorer; and every public name has its place in the reference."""
    shutil.copytree(_explorer(), Path(config.site_dir, "explorer"), dirs_exist_ok=True)
    pages = [path.read_text("utf-8") for path in Path(config.site_dir, "api").glob("*.html")]
    names = [*ml.__all__, *ml.metrics.__all__]
    wanted = {path_of(name) for name in names} - {"mlc_losses.metrics"}
    missing = [path for path in wanted if not any(f'id="{path}"' in page for page in pages)]
    if missing:
        raise PluginError(f"not in the reference: {', '.join(sorted(missing))}")


def _explorer() -> Path:
    """The tables of the explorer; a build that was cut off leaves none."""
    folder = kept.path("explorer", *HERE.glob("explorer_*.py"))
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        explorer_tables.build(unfinished)
        unfinished.rename(folder)
    return folder


def _by_title(pattern: str, first: str) -> list[Any]:
    """This page, then the others in docs/ that match, by their titles."""
    docs = ROOT / "docs"
    paths = [path.relative_to(docs).as_posix() for path in sorted(docs.glob(pattern))]
    paths.remove(first)
    return [
        first,
        *({gallery.short_title((docs / each).read_text("utf-8")): each} for each in paths),
    ]


@cache
def _notebooks() -> dict[str, str | bytes]:
    """They are run again when one of them, or the library, has changed."""
    return notebook_pages.pages(kept.BUILD)


def _examples() -> list[Any]:
    pages = {path: text for path, text in _notebooks().items() if path.endswith(".md")}
    return [{gallery.short_title(text): path} for path, text in pages.items()]


def _fill(nav: list[Any], section: str, entries: list[Any]) -> None:
    """The entries of a section that is one page in mkdocs.yml."""
    for entry in nav:
        if isinstance(entry, dict) and section in entry:
            entry[section] = entries
