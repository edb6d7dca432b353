"""Extension of griffe: the docstrings that mkdocstrings shows are Markdown with MathML."""

from __future__ import annotations

from typing import Any

import griffe

from docs.site import formulas
from docs.site.catalog import path_of
from tests.support.docstrings import to_markdown


class MarkdownDocstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        private = any(part.startswith("_") for part in obj.path.split("."))
        if obj.docstring is None or private:
            return

        def link(name: str) -> str:
            owner = obj if obj.is_class else obj.parent
            if owner is not None and owner.is_class and name in owner.members:
                return f"[`{name}`][mlc_losses.{owner.name}.{name}]"
            path = path_of(name)
            return f"[`{path.rpartition('.')[2]}`][{path}]"

        obj.docstring.value = to_markdown(
            obj.docstring.value, link, formulas.inline, formulas.display
        )
