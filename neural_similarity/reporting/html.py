"""Fills the HTML templates. Whatever is put into them is escaped, so that no text of a run becomes HTML."""

import functools

import jinja2


@functools.cache
def _environment():
    return jinja2.Environment(
        loader=jinja2.PackageLoader("neural_similarity.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fragment(template: str, **values) -> str:
    """What a file of `templates/` becomes with these values."""
    return _environment().get_template(template).render(**values).rstrip("\n")
