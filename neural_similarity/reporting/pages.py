"""The parts of an HTML report, and how they become one self-contained page."""

import base64
import dataclasses
import datetime
import io
import os
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from neural_similarity.config import REPOSITORY
from neural_similarity.errors import UserError
from neural_similarity.reporting.formats import text_of
from neural_similarity.reporting.html import fragment
from neural_similarity.reporting.summary import Table

RUNS = REPOSITORY / "runs"
_DOTS_PER_INCH = 130


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture in a page.

    Attributes:
        address: the picture itself, as a `data:` address.
        alt: what it shows, for people who do not see it.
        caption: below it.
        wide: it has so many parts that a narrow screen scrolls it instead of shrinking it any further.
    """

    address: str
    alt: str
    caption: str
    wide: bool = False

    @classmethod
    def of(cls, figure: Figure, alt: str, caption: str, wide: bool = False) -> "Picture":
        """The `Picture` of a matplotlib figure."""
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
        return cls(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", alt, caption, wide)


@dataclasses.dataclass(frozen=True)
class Link:
    """A line of a list: its text, the address that it leads to if there is something, and a note."""

    text: str
    address: str | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class PageSection:
    """A part of a page under a heading; whatever it has is shown in the order of the attributes."""

    title: str
    texts: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    pairs: Sequence[tuple[str, str]] = ()
    links: Sequence[Link] = ()


def page(title, subtitle, sections, cards=(), footer="", refresh_seconds=None) -> str:
    """An HTML page that needs nothing but itself: no script, no network.

    Args:
        title, subtitle, footer: texts.
        sections: `PageSection`s.
        cards: (name, value) texts of the numbers that matter most, shown first.
        refresh_seconds: the browser loads the page again after so many seconds; None for never.
    """
    return fragment(
        "page.html",
        title=title,
        subtitle=subtitle,
        sections=sections,
        cards=cards,
        footer=footer,
        refresh_seconds=refresh_seconds,
        text_of=text_of,
    )


def relative(target: Path, path: Path) -> str:
    """The way from a page to a file, as an address."""
    return urllib.parse.quote(Path(os.path.relpath(target, path.resolve().parent)).as_posix())


def written(from_where: str) -> str:
    """The footer of a page: when it was written, and from what."""
    return f"Written {datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC')} from {from_where}"


def tried(make: Callable[[], list[Picture]]) -> tuple[list[str], list[Picture]]:
    """(texts, pictures) of a section: what `make` gives, or the message why it cannot be made."""
    try:
        return [], make()
    except UserError as error:
        return [str(error)], []
