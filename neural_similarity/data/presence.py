"""Whether the files of a set that is downloaded are there. They are not opened."""

import os
from pathlib import Path

from neural_similarity.data.images import DataMissing
from neural_similarity.data.listing import file_exists
from neural_similarity.data.places import setup_command
from neural_similarity.data.registry import DATA_SETS


def check_files_exist(name: str, root: str | Path) -> None:
    """Checks that every file of a set is there.

    Args:
        name: a set of the registry all of whose files have a checksum, such as `cifar10`.
        root: the folder that holds all sets.

    Raises:
        DataMissing: a file is not there.
        UserError: the folder cannot be read, so that it is unknown whether the files are there.
    """
    root = Path(os.path.expanduser(root))
    entry = DATA_SETS[name]
    files = [file for archive in entry.archives for file in archive.file_md5]
    missing = [file for file in files if not file_exists(root / entry.folder / file)]
    if missing:
        raise DataMissing(
            f"{name}: {len(missing)} of {len(files)} files are not in {root / entry.folder}: {', '.join(missing)}. "
            f"Next: {setup_command(name, root)} (downloads it; --from DIR takes it from a folder); or name the "
            f"folder that contains {entry.folder} already: --set data.root=DIR, or NEURAL_SIMILARITY_DATA=DIR"
        )
