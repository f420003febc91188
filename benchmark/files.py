"""Files that appear whole or not at all, and locks on the files of a run."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

UNFINISHED = "part-"  # in the names of files that are being written; they begin with a dot


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file that appears whole or not at all.

    Args:
        path: of the file; its folder is made if needed.
        write: writes the content to the path that it is called with, a temporary one in the same folder. The file is
            then flushed to disk and renamed.
    """
    with temporary_beside(path) as temporary:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A temporary file in the folder of `path`, which is made if needed; deleted at the end.

    The file is locked while its process lives; `delete_unfinished` deletes those without a lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _locked_beside(path)
    try:
        yield Path(temporary)
    finally:
        with contextlib.suppress(FileNotFoundError):  # renamed
            os.unlink(temporary)
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file that appears whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def delete_unfinished(folder: Path, parts: Sequence[str] = ()) -> None:
    """Deletes the unfinished files that killed processes left in a folder, and anywhere in its folders `parts`.

    A file that a process is writing, on this machine or on another that shares the folder, is locked and stays.
    """
    below = (path for part in parts for path in (folder / part).rglob(f".*.{UNFINISHED}*"))
    for path in filter(Path.is_file, [*folder.glob(f".*.{UNFINISHED}*"), *below]):
        with contextlib.suppress(OSError), open(path, "rb") as file:  # locked, or gone meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _locked_beside(path: Path) -> tuple[int, str]:
    """An open and locked temporary file beside a path, and its name."""
    while True:
        prefix = f".{path.name}.{UNFINISHED}"
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
        with contextlib.suppress(OSError):  # a file system without locks, on which nothing is deleted
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)  # deleted between these two lines


@contextlib.contextmanager
def claimed(results: Path, key: str, wait: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of a run, so that one process at a time trains or scores it.

    The lock is an advisory one of the operating system: it ends with its process, however the process ends.

    Args:
        results: folder of the run records.
        key: of the run.
        wait: called with the owner of the lock ("process 12 on host") before this process waits for it.
    """
    path = results / "locks" / f"{key}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            wait(file.read().strip())
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        for unfinished in results.glob(f"*/.{key}.*"):  # of a process that was killed
            unfinished.unlink()
        yield
