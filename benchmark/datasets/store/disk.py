"""The folder of a store on disk: it appears whole or not at all, and replaces nothing but a store."""

import contextlib
import errno
import fcntl
import filecmp
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmark.datasets.store.index import FILES, SCALED
from benchmark.words import examples

UNFINISHED = ".unfinished"  # the suffix of a folder that is being filled
REPLACED = ".replaced"  # the suffix of a store while another one takes its place
LOCK = ".lock"


def check_target(target: Path, root: Path | None) -> None:
    """Refuses a place for a store where something else is, or among the images that are to be read.

    Args:
        target: folder of the store that is to be written.
        root: folder of the images; None if there is none.

    Raises:
        ValueError: if writing the store would replace other files, or change what is only to be read.
    """
    remedy = "give another --name, or another folder with --data"
    if target.is_symlink():
        raise ValueError(f"{target} is a symbolic link, and the folder behind it is not replaced; {remedy}.")
    place = target.resolve()
    for source in [] if root is None else [root, *(path for path in sorted(root.iterdir()) if path.is_dir())]:
        real = source.resolve()
        if place == real or place in real.parents:
            raise ValueError(f"The images in {source} lie inside the store that is to be written, {target}; {remedy}.")
        if real in place.parents:
            raise ValueError(f"The store {target} would lie inside {source}, which is only read; {remedy}.")
    if not target.exists():
        return
    if not target.is_dir():
        raise ValueError(f"{target} is a file; {remedy}.")
    others = [path.name for path in sorted(target.iterdir()) if not _of_store(path)]
    if others:
        raise ValueError(f"{target} has files that are not of a store ({examples(others)}), so it is kept; {remedy}.")
    if any(target.iterdir()) and not _is_store(target):
        raise ValueError(f"{target} is not a store that `bench data add` wrote, so it is kept; {remedy}.")


@contextlib.contextmanager
def writing(data: Path) -> Iterator[None]:
    """Turns an error of the file system into one sentence with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(
                f"The disk of {data} is full; free some space or give another folder with --data."
            ) from error
        raise ValueError(f"{data} cannot be written ({error.strerror}); give another folder with --data.") from error


@contextlib.contextmanager
def unfinished(data: Path, name: str) -> Iterator[Path]:
    """A folder to fill, deleted at the end unless `publish` renamed it; folders of killed processes are deleted, too.

    One process at a time: the others wait for a lock, which the operating system releases when its process ends.
    """
    data.mkdir(parents=True, exist_ok=True)
    with open(data / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for folder in data.glob(f".*{UNFINISHED}"):
            remove(folder)
        for aside in data.glob(f".*{REPLACED}"):
            original = data / aside.name[1:].removesuffix(REPLACED)
            if original.exists():
                remove(aside)
            elif _is_store(aside):
                aside.rename(original)
        folder = Path(tempfile.mkdtemp(dir=data, prefix=f".{name}-", suffix=UNFINISHED))
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            remove(folder)


def publish(folder: Path, final: Path) -> None:
    """Renames a filled folder to its final name; a store of that name is moved aside first, unless it is the same."""
    aside = final.with_name(f".{final.name}{REPLACED}")
    if final.exists():
        if all(_same(folder / name, final / name) for name in ("index.json", "images.bin", "masks.bin")):
            return
        check_target(final, None)
        os.rename(final, aside)
    try:
        os.rename(folder, final)
    except OSError:
        if aside.exists():
            os.rename(aside, final)
        raise
    handle = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    remove(aside)


def remove(folder: Path) -> None:
    """Deletes a store; in a folder that has other files, these stay."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir() and _of_store(path):
            remove(path)
        elif _of_store(path):
            path.unlink()
    with contextlib.suppress(OSError):  # something else is in it, so it stays
        folder.rmdir()


def _is_store(folder: Path) -> bool:
    """Whether `bench data add` wrote it, also before stores had a seal, and even if its index was damaged since."""
    index = folder / "index.json"
    if not index.is_file():
        return False
    with open(index, "rb") as file:
        begins = file.read(40)
    return b'"format":' in begins or all((folder / name).is_file() for name in ("images.bin", "masks.bin"))


def _of_store(path: Path) -> bool:
    """Whether a file has a name that stores use, or a folder is a store at a reduced resolution and nothing else."""
    if path.is_dir() and not path.is_symlink():
        return path.name.startswith(SCALED) and all(map(_of_store, path.iterdir()))
    return path.name in (*FILES, LOCK) or any(path.name.startswith(f".{name}.") for name in FILES)


def _same(file: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(file, other, shallow=False)
