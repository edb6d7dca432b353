"""The notebooks of `examples/notebooks` as pages: executed, then Markdown and figures.

    python -m docs.site.notebook_pages build/notebooks

writes them into a folder, to be looked at.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

from docs.site import kept
from docs.site.catalog import ROOT

NOTEBOOKS = ROOT / "examples" / "notebooks"
SECONDS = 600  # for one cell, on a busy machine
# the library of this clone; and figures go into the notebook, whatever draws elsewhere
KERNEL = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}


def pages(build: Path, folder: str = "notebooks") -> dict[str, str | bytes]:
    """Path in the site to content, for all notebooks: `<folder>/<name>.md` and its figures."""
    result: dict[str, str | bytes] = {}
    for source in sorted(NOTEBOOKS.glob("*.py")):
        text, figures = page(source, executed(source, build))
        result[f"{folder}/{source.stem}.md"] = text
        result |= {f"{folder}/{name}": content for name, content in figures.items()}
    return result


def executed(source: Path, build: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs; it is run once for each state of itself and the library."""
    name, data = f"notebooks/{source.stem}", NOTEBOOKS.parent / "data.py"
    path = kept.path(name, source, data, build=build).with_suffix(".ipynb")
    if path.exists():
        return nbformat.read(path, as_version=4)
    notebook = jupytext.read(source)
    # where a reader would start it: beside the notebook
    client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": NOTEBOOKS}})
    client.execute(env=os.environ | KERNEL)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return notebook


def page(source: Path, notebook: nbformat.NotebookNode) -> tuple[str, dict[str, bytes]]:
    """Markdown, and the figures that lie beside it, by file name."""
    resources = {"unique_key": source.stem}  # the figures are named by it
    text, found = MarkdownExporter().from_notebook_node(notebook, resources)
    # links are written for a reader of the notebook
    title, _, rest = text.lstrip().replace("](../../docs/", "](../").partition("\n")
    program = source.relative_to(ROOT).as_posix()
    note = f"The program is `{program}`; below each cell is what it printed."
    return f"{title}\n\n{note}\n{rest}", found["outputs"]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for name, content in pages(kept.BUILD).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content.encode() if isinstance(content, str) else content)
