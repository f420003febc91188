"""The file that `bench choose` writes and `bench sweep --labelled-list` reads: names of images for each draw."""

from pathlib import Path

import msgspec

from benchmark.files import write_whole

FORMAT = 1  # raised when a field changes its meaning


class Selection(msgspec.Struct, kw_only=True):
    """Chosen images of a dataset."""

    strategy: str
    dataset: str
    split: str
    draws: list[list[str]]  # for each draw the names of the images, the most useful first
    format: int = FORMAT

    def names(self, draw: int) -> tuple[str, ...]:
        """The images for a draw."""
        if draw >= len(self.draws):
            raise ValueError(
                f"The list of '{self.strategy}' has images for {len(self.draws)} draws, not for draw {draw}; choose "
                f"again with --draws {draw + 1}."
            )
        return tuple(self.draws[draw])


def write(selection: Selection, path: Path) -> None:
    """Writes a selection as JSON."""
    text = msgspec.json.format(msgspec.json.encode(selection), indent=1)
    write_whole(path, lambda temporary: temporary.write_bytes(text + b"\n"))


def read(path: Path) -> Selection:
    """The selection in a file; another file is a ValueError."""
    try:
        selection = msgspec.json.decode(path.read_bytes(), type=Selection)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a list of `bench choose` ({error}); choose again.") from error
    counts = {len(set(names)) for names in selection.draws}
    if selection.format != FORMAT or len(counts) != 1 or 0 in counts:
        raise ValueError(f"{path} has another format, no images, or an image twice; choose again.")
    return selection
