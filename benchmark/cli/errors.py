"""Errors in one sentence with a remedy, and checks of folders before the work begins."""

import errno
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import click
import cloup

import methods
from benchmark.cli.numbers import short
from benchmark.cli.output import forgiving
from benchmark.files import delete_unfinished

WRITTEN = "benchmark.written"  # in a command's context: the option that names the folder which the command writes to
LONG = re.compile(r"([^\s/'.]{60})[^\s/'.]{90,}")  # part of a word that is longer than the key of any run
FOLDERS = (  # of --results
    "runs", "weights", "checkpoints", "pictures", "locks", "failed", "running", "tuning", "speed", "slurm", "tables",
    "figures",
)  # fmt: skip


class Sentences(cloup.Group):
    """The command group: prints an error as one sentence; with BENCH_DEBUG=1, the whole traceback."""

    def main(self, *args: Any, **extra: Any) -> Any:
        with forgiving():
            return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("BENCH_DEBUG"):
                raise
            text = sentence(error, ctx.meta.get(WRITTEN, "--results"))
            raise click.ClickException(LONG.sub(r"\1…", text)) from error


def sentence(error: Exception, option: str = "--results") -> str:
    """The text of an error for a person.

    Args:
        error: what a command raised. The text of a ValueError of this project is printed as it is.
        option: the option for the folder that the command writes to.
    """
    if isinstance(error, OSError):
        return _of_system(error, option)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _of_memory(str(error))):
        return (
            "There is not enough memory; give a smaller --crop, --labelled, --unlabelled or --width, or end other "
            "programs."
        )
    if isinstance(error, UnicodeDecodeError):
        return f"A file is not UTF-8 text ({error.reason}, byte {error.start}); save it as UTF-8."
    if isinstance(error, ValueError) and str(error):
        return str(error)
    if isinstance(error, RuntimeError) and "torchvision::" in str(error):
        from benchmark import machine

        return machine.mismatch() or str(error)
    return f"{methods.described(error)}. BENCH_DEBUG=1 shows the whole traceback."


def writable(folder: Path, option: str = "--results", parts: tuple[str, ...] = FOLDERS) -> None:
    """Makes a folder, and checks before the work begins that the command can write to it.

    Unfinished files of killed commands are deleted.

    Args:
        folder: where the command writes.
        option: the option for this folder, for this and later errors of the command.
        parts: folders inside it that the command uses.

    Raises:
        ValueError: if the folder cannot be made or written to, or a part of it is a file.
    """
    ctx = click.get_current_context(silent=True)
    if ctx:
        ctx.meta[WRITTEN] = option
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *(folder / part for part in parts if os.path.lexists(folder / part))):
            if not place.is_dir():
                raise ValueError(
                    f"{place} is a file, but a folder of that name is needed; move the file away, or give another "
                    f"folder with {option}."
                )
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"\0" * 4096)
                file.flush()
        delete_unfinished(folder, parts)
    except OSError as error:
        raise ValueError(f"{_of_folder(error, folder)}; give another folder with {option}.") from error


def _of_memory(text: str) -> bool:
    """Whether torch says that memory was not enough."""
    return "can't allocate memory" in text or "out of memory" in text


def _of_folder(error: OSError, folder: Path) -> str:
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        blocking = next(p for p in (folder, *folder.parents) if os.path.lexists(p) and not p.is_dir())
        return f"{blocking} is not a folder"
    if error.errno == errno.ENAMETOOLONG:
        return f"The name of the folder {short(folder)} is too long"
    return f"The folder {short(folder)} is not writable ({error.strerror})"


def _of_system(error: OSError, option: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full; free some space or give another folder with {option}, then give the command again: "
            "what was finished is kept."
        )
    if not error.filename:
        return f"{error.strerror or methods.described(error)}."
    if error.errno == errno.EROFS:
        return f"The disk of {short(error.filename)} is read-only; give another folder with {option}."
    if error.errno == errno.ENAMETOOLONG:
        return f"The name {short(error.filename)} is too long; give a shorter one."
    return f"{error.strerror}: {error.filename}"
