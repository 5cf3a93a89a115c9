"""The templates of the pages that are written as files."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def page_template(name: str) -> Template:
    """A template of this room; everything that is put into it is escaped, and must be there."""
    environment = Environment(
        loader=PackageLoader("instructgpt.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
