"""Writes a picture to a PNG."""

from pathlib import Path

from neural_similarity.errors import UserError
from neural_similarity.files import shown


def check_png(out: str | Path) -> Path:
    """The path of a picture that may be written there; called before anything takes time.

    Raises:
        UserError: its name does not end in .png, or there is no such folder.
    """
    out = Path(out)
    if out.suffix != ".png":
        raise UserError(f"{shown(out)}: the picture is a PNG. Next: --out {shown(out.with_suffix('.png'))}")
    if not out.parent.is_dir():
        raise UserError(f"{shown(out)}: there is no folder {shown(out.parent)}. Next: make it, or --out another")
    return out


def write_png(figure, out: Path) -> None:
    """Writes a matplotlib figure.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        figure.savefig(out)
    except OSError as error:
        raise UserError(f"{shown(out)}: cannot be written ({error.strerror}). Next: --out another file") from None
