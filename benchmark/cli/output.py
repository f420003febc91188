"""Standard output and standard error that never end the work: what cannot be written or encoded is left out."""

import codecs
import contextlib
import errno
import io
import os
import select
import sys
import unicodedata
from collections.abc import Iterator
from typing import TextIO

PLAIN = {"–": "-", "—": "-", "−": "-", "×": "x", "…": "...", "✓": "ok", "✗": "x", "▸": ">", "µ": "u", "†": "+"}


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Within it, the streams of this process drop what nobody reads, and write ASCII for what they cannot encode.

    A closed pipe (`bench data list | head -1`) is silent. A full disk behind standard output (`> /dev/full`) is
    reported once on standard error. Neither changes what the command does or its exit status. Streams that are not
    those of the process, such as those of a test, stay as they are.
    """
    _open_missing()
    before = sys.stdout, sys.stderr
    if sys.stderr and sys.stderr is sys.__stderr__:
        sys.stderr = _wrapped(sys.stderr, None)
    if sys.stdout and sys.stdout is sys.__stdout__:
        sys.stdout = _wrapped(sys.stdout, sys.stderr)
    try:
        yield
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        sys.stdout, sys.stderr = before


class _Drain(io.RawIOBase):
    """UTF-8 to a file descriptor in another encoding, for as long as it takes bytes; afterwards they are dropped."""

    def __init__(self, descriptor: int, encoding: str, reports: TextIO | None):
        self.descriptor, self.encoding, self.reports, self.taken = descriptor, encoding, reports, True
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def write(self, data) -> int:
        left = memoryview(self.decoder.decode(data).encode(self.encoding, "plain"))
        while left and self.taken:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:
                select.select([], [self.descriptor], [])
            except OSError as error:
                self.taken = False
                if self.reports and error.errno != errno.EPIPE:
                    print(f"The output could not be written ({error.strerror}).", file=self.reports)
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)


def _wrapped(stream: TextIO, reports: TextIO | None) -> TextIO:
    """A stream over the same descriptor. It is UTF-8, since click writes UTF-8 past a stream that says ASCII."""
    stream.flush()
    raw = _Drain(stream.fileno(), stream.encoding, reports)
    by_line = raw.isatty() or reports is None
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "plain", line_buffering=by_line)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Plain characters for those that an encoding lacks: "-" for a dash, "e" for "é", "?" where there is nothing."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(sign: str) -> str:
    name = unicodedata.name(sign, "")
    if name.startswith("BOX DRAWINGS"):
        return "-" if name.endswith("HORIZONTAL") else "|" if name.endswith("VERTICAL") else "+"
    return PLAIN.get(sign) or unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode() or "?"


def _open_missing() -> None:
    """Opens descriptors 0, 1 and 2 where they are closed (`>&-`), so that no file of a run takes their numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


codecs.register_error("plain", _plain)
