"""HTML pages from templates, every value escaped. Knows nothing of Relève."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(package: str, template: str, **values: object) -> str:
    """Fill `templates/TEMPLATE` of `package`. Values are escaped; an unknown name is an error."""
    return _environment(package).get_template(template).render(**values)
