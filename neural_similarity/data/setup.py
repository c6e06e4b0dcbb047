"""Puts data sets where the experiments look for them, each file checked against its publisher's MD5.

`dataset_setup.sh` runs this file by itself, before anything is installed: the standard library only, and of the
package only download.py, which lies beside it.
"""

import argparse
import difflib
import hashlib
import os
import shlex
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

if __package__:
    from neural_similarity.data import download
else:
    import download  # run by itself: Python looks beside this file

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class DataSet:
    """What has to be in place for one set, and where it may come from."""

    name: str
    folder: str  # under the root; the name that the official archive unpacks to
    released_folder: str  # the name in the data folder of the authors' released code
    page: str
    url: str  # of the archive
    archive: str
    archive_md5: str
    files: dict[str, str]  # file name → MD5
    next_command: str


DATA_SETS = {
    entry.name: entry
    for entry in (
        DataSet(
            name="cifar10",
            folder="cifar-10-batches-bin",
            released_folder="cifar-10",
            page="https://www.cs.toronto.edu/~kriz/cifar.html",
            url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            archive="cifar-10-binary.tar.gz",
            archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
            files={
                "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
                "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
                "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
                "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
                "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
                "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
            },
            next_command="python nsl_image_recog/dynamic_dns/train.py",
        ),
        DataSet(
            name="cifar100",
            folder="cifar-100-binary",
            released_folder="cifar-100",
            page="https://www.cs.toronto.edu/~kriz/cifar.html",
            url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            archive="cifar-100-binary.tar.gz",
            archive_md5="03b5dce01913d631647c71ecec9e9cb8",
            files={
                "train.bin": "6172c7755cfe09b2fe270c85cebc1b15",
                "test.bin": "4499cfba6c016c1be1438163640a0898",
            },
            next_command="python nsl_image_recog/dynamic_dns/train.py --config configs/cifar100/dynamic_dns.yaml",
        ),
    )
}


class SetupError(Exception):
    """Something the user can put right: what, where, what was expected, the next command."""


def default_root(environ=os.environ):
    """The folder that holds the sets: NEURAL_SIMILARITY_DATA, else `data/`; a relative one starts at the repository."""
    root = os.path.expanduser(environ.get("NEURAL_SIMILARITY_DATA") or "data")
    return Path(os.path.abspath(REPOSITORY / root))


def command(name, root, source=None):
    """The command line that sets up `name` in the folder `root`, from the folder `source` if there is one."""
    words = ["./dataset_setup.sh", name]
    words += ["--from", str(source)] if source is not None else []
    words += ["--root", str(root)] if Path(root) != default_root() else []
    return shlex.join(words)


def find_data_set(name):
    """The entry of DATA_SETS with this name; SetupError with the nearest name when there is none."""
    if name in DATA_SETS:
        return DATA_SETS[name]
    near = difflib.get_close_matches(name.lower(), DATA_SETS, n=1)
    raise SetupError(
        f"Unknown data set `{name}`; known: {', '.join(DATA_SETS)}."
        + (f" Did you mean: ./dataset_setup.sh {near[0]}" if near else " Next: ./dataset_setup.sh --help")
    )


def set_up(entry, root, source=None):
    """Puts the files of one set in `root / entry.folder`; what is there and right is kept.

    Args:
        entry: a DataSet.
        root: folder that holds the sets; created when needed.
        source: folder to copy from; None takes the official archive in `root`, or downloads it.

    Raises:
        SetupError: a file cannot be had or has another MD5; no file with a wrong MD5 is ever put in place.
        OSError: a folder cannot be read or written.
    """
    root = Path(root)
    folder = root / entry.folder
    wanted = _wanted(entry, folder)
    if wanted and source is not None:
        _copy_from(entry, root, Path(source), wanted)
    elif wanted and not _unpack_from_root(entry, root, wanted):
        _download(entry, root)
    _say(f"{entry.name}: complete in {folder}")


def main(arguments=None):
    """The command line; returns the exit code: 0; 2 after a message on standard error; 130 if interrupted."""
    options = _parse(arguments)
    root = Path(os.path.abspath(os.path.expanduser(options.root))) if options.root else default_root()
    source = None
    failed = False
    try:
        entries = [find_data_set(name) for name in dict.fromkeys(options.names or DATA_SETS)]
        if options.source is not None:
            source = _source_folder(options.source)
    except SetupError as error:
        return _fail(error)
    except OSError as error:
        return _fail(f"--from: {error.filename}: {error.strerror}. Name a folder that you may read: --from DIR")
    for entry in entries:
        try:
            set_up(entry, root, source)
        except SetupError as error:
            failed = True
            _fail(error)
        except OSError as error:
            failed = True
            where = error.filename or root / entry.folder
            _fail(
                f"{entry.name}: {where}: {error.strerror or error}. Check permissions and free space (about 400 MB a "
                f"set), then: {command(entry.name, root, source)}   (--root DIR puts the data elsewhere)"
            )
        except KeyboardInterrupt:
            _fail(f"{entry.name}: interrupted; what came is kept. Next, to go on: {command(entry.name, root, source)}")
            return 130
    if failed:
        return 2
    elsewhere = "" if root == default_root() else f" --set data.root={shlex.quote(str(root))}"
    for entry in entries:
        _say(f"Next, in {REPOSITORY}: {entry.next_command}{elsewhere}")
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="./dataset_setup.sh",
        allow_abbrev=False,
        description="Downloads data sets, puts them in place and checks the MD5 of every file. Files already there and "
        "right are kept; a download that was interrupted goes on.",
    )
    parser.add_argument("names", nargs="*", metavar="SET", help=f"{', '.join(DATA_SETS)}; without a name: all of them")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        help="downloads nothing: DIR is a folder that holds the official archive or its unpacked files",
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="where to put the sets; otherwise the environment's NEURAL_SIMILARITY_DATA, otherwise data/ in the "
        "repository",
    )
    return parser.parse_intermixed_args(arguments)


def _say(line):
    print(line, flush=True)


def _fail(message):
    print(f"dataset_setup.sh: {message}", file=sys.stderr, flush=True)
    return 2


def _source_folder(text):
    source = Path(os.path.abspath(os.path.expanduser(text)))
    if source.is_file():
        raise SetupError(f"--from: {source} is a file; name the folder that it is in: --from {source.parent}")
    if not source.is_dir():
        raise SetupError(
            f"--from: there is no folder {source}. Name one that holds an official archive or its files: --from DIR"
        )
    return source


def _wanted(entry, folder):
    """Names of the files that `folder` lacks, or has with another MD5."""
    return [name for name, md5 in entry.files.items() if not (folder / name).is_file() or _md5_of(folder / name) != md5]


def _copy_from(entry, root, source, wanted):
    """Copies the files `wanted` from the first place below `source` that has them right, the archive last."""
    places = [
        source,
        source / entry.folder,
        source / entry.released_folder,
        source / "data" / entry.released_folder,
        source / "data" / entry.folder,
    ]
    folder = root / entry.folder
    missing, wrong = [], {}
    for name in wanted:
        md5 = entry.files[name]
        candidates = [place / name for place in places if (place / name).is_file()]
        for path in candidates:
            with path.open("rb") as stream:
                found = _install(stream, folder / name, md5)
            if found == md5:
                _say(f"{entry.name}: {name} copied from {path.parent}")
                break
            wrong.setdefault(name, _mismatch(path, md5, found))
        else:
            missing.append(name)
    archive = source / entry.archive
    if missing and archive.is_file():
        found = _md5_of(archive)
        if found != entry.archive_md5:
            raise SetupError(
                f"{entry.name}: {_mismatch(archive, entry.archive_md5, found)}\n  Delete it, get it again from "
                f"{entry.page}, then: {command(entry.name, root, source)}"
            )
        missing = _unpack(entry, root, archive, missing)
    problems = [wrong[name] for name in missing if name in wrong]
    absent = [name for name in missing if name not in wrong]
    if absent:
        problems.append(
            f"{len(absent)} of {len(entry.files)} files not found: {', '.join(absent)}. Looked in "
            f"{', '.join(map(str, places))}, and for the archive {archive}."
        )
    if problems:
        raise SetupError(
            f"{entry.name}: " + "\n  ".join(problems) + f"\n  Put good copies of them, or of {entry.archive} "
            f"(MD5 {entry.archive_md5}) from {entry.page}, in {source}, then: {command(entry.name, root, source)}"
        )


def _unpack_from_root(entry, root, wanted):
    """Installs the files `wanted` from the official archive if it lies in `root`; returns whether it does."""
    archive = root / entry.archive
    found = _md5_of(archive) if archive.is_file() else None
    if found == entry.archive_md5:
        _unpack_all(entry, root, archive, wanted)
    elif found is not None:
        _say(f"{entry.name}: {_mismatch(archive, entry.archive_md5, found)} It is not used.")
    return found == entry.archive_md5


def _download(entry, root):
    """Installs what the set lacks from the official archive, downloaded to a partial file in `root`.

    The archive never gets its own name: its MD5 is what tells whether it is whole, and it goes when the files are
    there.
    """
    root.mkdir(parents=True, exist_ok=True)
    partial = root / f"{entry.archive}.part"
    try:
        with download.alone(partial) as file:
            wanted = _wanted(entry, root / entry.folder)  # another process may have put them there meanwhile
            if wanted:
                _fetch(entry, file, partial)
                _unpack_all(entry, root, partial, wanted)
            file.truncate(0)
    except download.BusyError as error:
        raise SetupError(
            f"{entry.name}: another process is downloading it to {error}. Next, when that has ended: "
            f"{command(entry.name, root)}"
        ) from error
    except download.DownloadError as error:
        goes_on = " (goes on with what is there)" if partial.exists() else ""
        raise SetupError(
            f"{entry.name}: {error}\n  Next, later: {command(entry.name, root)}{goes_on}\n  Or get {entry.archive} "
            f"(MD5 {entry.archive_md5}) from {entry.page} by hand; then, DIR being the folder with it: "
            f"{command(entry.name, root, 'DIR')}"
        ) from error


def _fetch(entry, file, partial):
    """Completes the archive in the partial file; a wrong one is emptied, and DownloadError says what it was."""
    if _md5_of(partial) == entry.archive_md5:
        return
    there = partial.stat().st_size
    _say(f"{entry.name}: downloading {entry.url}" + (f", going on after {there:,} bytes" if there else ""))
    in_pieces = download.fetch(entry.url, file)
    found = _md5_of(partial)
    if found != entry.archive_md5 and in_pieces:
        _say(f"{entry.name}: the pieces do not make the archive (MD5 {found}); downloading it anew")
        file.truncate(0)
        download.fetch(entry.url, file)
        found = _md5_of(partial)
    if found != entry.archive_md5:
        problem = _mismatch(partial, entry.archive_md5, found, entry.url)
        file.truncate(0)
        raise download.DownloadError(f"{problem} It was deleted.")


def _unpack_all(entry, root, archive, wanted):
    left = _unpack(entry, root, archive, wanted)
    if left:
        raise SetupError(
            f"{entry.name}: {archive} has the MD5 expected, but holds no right {', '.join(left)} in "
            f"{entry.folder}/. Next, DIR being a folder with them: {command(entry.name, root, 'DIR')}"
        )


def _unpack(entry, root, archive, wanted):
    """Installs `<entry.folder>/<name>` out of the archive for the names `wanted`; returns those it does not hold."""
    left = list(wanted)
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            _refuse_if_unsafe(entry, root, archive, member)
        for member in members:
            folder, _, name = str(PurePosixPath(member.name)).rpartition("/")
            if folder != entry.folder or name not in left or not member.isfile():
                continue
            md5 = entry.files[name]
            if _install(members.extractfile(member), root / entry.folder / name, md5) == md5:
                left.remove(name)
                _say(f"{entry.name}: {name} unpacked from {archive}")
    return left


def _refuse_if_unsafe(entry, root, archive, member):
    path = PurePosixPath(member.name)
    link = member.issym() or member.islnk()
    if link or path.is_absolute() or ".." in path.parts:
        what = f"is a link to {member.linkname!r}" if link else "leads out of the folder"
        raise SetupError(
            f"{entry.name}: {archive}: expected files in {entry.folder}/ alone, but its member {member.name!r} {what}. "
            f"Nothing was unpacked. Next, DIR being a folder with the files, unpacked by hand: "
            f"{command(entry.name, root, 'DIR')}"
        )


def _install(stream, target, md5):
    """Copies `stream` to `target` if its bytes have this MD5; returns the MD5 that they have.

    The copy lies beside the target until it is known to be right, so that neither an interruption nor a full disk
    leaves half a file under the target's name.
    """
    # Not tempfile: its files are readable by their owner alone, and data folders are shared.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as copy:
            while block := stream.read(1 << 20):
                digest.update(block)
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
        if digest.hexdigest() == md5:
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def _md5_of(path):
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _mismatch(path, expected, found, origin=None):
    """The line that says what is wrong with the file (from the URL `origin`); often it is a web page, and named so."""
    with path.open("rb") as stream:
        start = stream.read(200).lstrip(b"\xef\xbb\xbf \t\r\n")
    page = ""
    if start[:9].lower() == b"<!doctype" or start[:5].lower() in (b"<html", b"<head", b"<?xml"):
        begins = start.decode("ascii", "replace").split(">")[0].split()[0]
        kind = "an archive" if ".tar" in path.suffixes else "data"
        page = f" (starts with `{begins}`: a web page, not {kind})"
    return f"{origin or path}: expected MD5 {expected}, got {found}{page}."


if __name__ == "__main__":
    sys.exit(main())
