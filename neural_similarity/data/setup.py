"""The command line of `dataset_setup.sh`, which puts data sets where the experiments look for them.

dataset_setup.sh runs this file by itself, before anything is installed. So this file, and those that it needs from this
folder (registry, class_lists, places, streams, install, checks, origin, unpack, download), use the standard library
alone, and import each other in two ways: as parts of the package, or as the files beside this one. Some sets are built
from images that somebody brings: what that takes is imported when it is asked for, from the installed package.
"""

import argparse
import difflib
import importlib
import os
import shlex
import sys
from pathlib import Path

if __package__:
    from neural_similarity.data import registry
    from neural_similarity.data.install import SetupError, set_up
    from neural_similarity.data.places import REPOSITORY, default_root, setup_command, typed_path
    from neural_similarity.data.streams import Parser, prepare, tell
else:  # run by itself: Python looks beside this file
    import registry
    from install import SetupError, set_up
    from places import REPOSITORY, default_root, setup_command, typed_path
    from streams import Parser, prepare, tell


def _of_kind(kind):
    """The sets of the registry that are of a class, by name."""
    return {name: entry for name, entry in registry.DATA_SETS.items() if isinstance(entry, kind)}


def downloaded_sets():
    """The sets of the registry that are downloaded when no name is given, by name."""
    return {name: entry for name, entry in _of_kind(registry.DownloadedSet).items() if not entry.only_by_name}


def find_data_set(name):
    """The set with this name that can be set up; SetupError if there is none, with the nearest name."""
    known = _of_kind((registry.DownloadedSet, registry.RegroupedSet, registry.BroughtSet))
    if name in known:
        return known[name]
    if name in registry.DATA_SETS:
        origin = registry.DATA_SETS[name].origin
        raise SetupError(f"`{name}` needs no set-up: its images are {origin}. Sets to set up: {', '.join(known)}.")
    near = difflib.get_close_matches(name.lower(), known, n=1)
    raise SetupError(
        f"Unknown data set `{name}`; known: {', '.join(known)}."
        + (f" Did you mean: ./dataset_setup.sh {near[0]}" if near else " Next: ./dataset_setup.sh --help")
    )


def main(arguments=None):
    """Runs the command line.

    Returns:
        The exit code: 0; 2 after a message on standard error; 130 if interrupted.
    """
    prepare()
    try:
        return _main(arguments)
    finally:
        tell("", end="")  # writes out what argparse printed, or nobody would see that it cannot be written


def _main(arguments):
    options = _parse(arguments)
    source = None
    failed = False
    try:
        root = options.root or default_root()
        entries = [find_data_set(name) for name in dict.fromkeys(options.names or downloaded_sets())]
        if options.source is not None:
            source = _source_folder(options.source)
    except (SetupError, argparse.ArgumentTypeError) as error:
        return _fail(error)
    except OSError as error:
        return _fail(f"--from: {error.filename}: {error.strerror}. Name a folder that you may read: --from DIR")
    for entry in entries:
        again = setup_command(entry.name, root, source)
        try:
            _put_in_place(entry, root, source)
        except SetupError as error:
            failed = True
            _fail(error)
        except OSError as error:
            failed = True
            files = _set_with_files(entry)
            where = error.filename or root / files.folder
            _fail(
                f"{entry.name}: {where}: {error.strerror or error}. Check permissions and free space (the set needs "
                f"about {files.space_mb:,} MB), then: {again}   (--root DIR puts the data elsewhere)"
            )
        except KeyboardInterrupt:
            brought = isinstance(entry, registry.BroughtSet)
            kept = "nothing is kept. Next, to begin anew" if brought else "what came is kept. Next, to go on"
            _fail(f"{entry.name}: interrupted; {kept}: {again}")
            return 130
    if failed:
        return 2
    elsewhere = "" if root == default_root() else f" --set data.root={shlex.quote(str(root))}"
    for entry in entries:
        tell(f"Next, in {REPOSITORY}: {entry.next_command}{elsewhere}")
    return 0


def _set_with_files(entry):
    """The set whose files an experiment with this set reads."""
    return registry.DATA_SETS[entry.images_of] if isinstance(entry, registry.RegroupedSet) else entry


def _put_in_place(entry, root, source):
    if isinstance(entry, registry.BroughtSet):
        _build(entry, root, source)
        return
    files = _set_with_files(entry)
    if files is not entry:
        tell(f"{entry.name}: its images are those of {files.name}, which is set up")
    set_up(files, root, source)


def _build(entry, root, source):
    """Builds a BroughtSet from the images in `source`, or finds it whole; SetupError if it cannot."""
    try:
        from neural_similarity.data.images import DataMissing
        from neural_similarity.errors import UserError

        build = importlib.import_module(f"neural_similarity.data.{entry.name}_setup").build
    except ImportError as error:
        raise SetupError(
            f"{entry.name}: to read images takes the project's packages, which are not installed ({error}). Next, in "
            f"{REPOSITORY}: make install, then: {setup_command(entry.name, root, source)}"
        ) from error
    try:
        build(source, root)
    except DataMissing:
        raise SetupError(
            f"{entry.name}: it is not downloaded. Bring the images, in a folder DIR: {entry.what_to_bring} "
            f"(docs/data.md has the layouts). Next: {setup_command(entry.name, root, 'DIR')}"
        ) from None
    except UserError as error:
        message = str(error)
        raise SetupError(message if message.startswith(f"{entry.name}: ") else f"{entry.name}: {message}") from error


def _parse(arguments):
    parser = Parser(
        prog="./dataset_setup.sh",
        description="Downloads data sets, puts them in place and checks their files. Files that are there and right "
        "are kept. A download that was interrupted goes on where it stopped.",
    )
    without_a_name = downloaded_sets()
    by_name = [name for name in _of_kind(registry.DownloadedSet) if name not in without_a_name]
    parser.add_argument(
        "names",
        nargs="*",
        metavar="SET",
        help=f"{', '.join(without_a_name)}; without a name: all of them. "
        + "".join(f"{name} is set up only if you name it. " for name in by_name)
        + "".join(
            f"{name} takes its images from {entry.images_of}. "
            for name, entry in _of_kind(registry.RegroupedSet).items()
        )
        + "".join(
            f"{name} is built from images that you have, and needs --from. " for name in _of_kind(registry.BroughtSet)
        ),
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=_folder,
        metavar="DIR",
        help="downloads nothing: DIR is a folder that holds the official archive or its unpacked files; or the images "
        "of a set that is built from them, in one of the layouts of docs/data.md",
    )
    parser.add_argument(
        "--root",
        type=_folder,
        metavar="DIR",
        help="the folder to put the sets in. Without it that is the folder that the environment variable "
        "NEURAL_SIMILARITY_DATA names, and without that variable data/ in the repository",
    )
    return parser.parse_intermixed_args(arguments)


def _folder(text):
    """The absolute path of a folder that somebody typed. An `argparse` type."""
    return Path(os.path.abspath(typed_path(text)))


def _fail(message):
    """Prints a message on standard error; returns the exit code."""
    tell(f"dataset_setup.sh: {message}", sys.stderr)
    return 2


def _source_folder(source):
    """The folder that --from names, again; SetupError if it is not a folder."""
    if source.is_file():
        raise SetupError(f"--from: {source} is a file; name the folder that it is in: --from {source.parent}")
    if not source.is_dir():
        raise SetupError(
            f"--from: there is no folder {source}. Name one that holds an official archive or its files: --from DIR"
        )
    return source


if __name__ == "__main__":
    sys.exit(main())
