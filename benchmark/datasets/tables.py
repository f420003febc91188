"""Reading the small text files and CSV tables that lie beside images."""

import csv
import re
from pathlib import Path

from benchmark.datasets.images import check_regular, is_control, nfc

LINE_END = re.compile(r"\r\n|\r|\n")
DELIMITERS = ",;\t"
LONGEST = 200  # letters of a name; longer ones fit into no table and no picture


def read_text(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, stripped, each with its number from 1.

    Any line ends and a byte-order mark are understood. Other encodings than UTF-8, control characters, and what is not
    a regular file are a ValueError with the remedy.
    """
    text = decoded(path)
    lines = [(number, line.strip()) for number, line in enumerate(LINE_END.split(text), 1) if line.strip()]
    for number, line in lines:
        if any(is_control(letter) and letter != "\t" for letter in line):
            raise ValueError(f"{path} has a control character in line {number}; save it as plain text in UTF-8.")
    return lines


def decoded(path: Path) -> str:
    """The text of a file in UTF-8, without a byte-order mark and in one spelling of accents; else a ValueError."""
    check_regular(path)
    try:
        return nfc(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text; save it in UTF-8 (CSV in UTF-8, if it is a table).") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); change its permissions.") from error


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file, with the asked columns by their lower-case names.

    Commas, semicolons or tabs and blanks around fields are understood. A table without any row, an unclosed quotation
    mark, an empty field and a row of another length than the first line are a ValueError that names the line.
    """
    lines = read_text(path)
    first = lines[0][1] if lines else ""
    delimiter = max(DELIMITERS, key=first.count)
    rows = [(number, _fields(path, number, line, delimiter)) for number, line in lines]
    header = [field.lower() for field in rows[0][1]] if rows else []
    for column in columns:
        if header.count(column) != 1:
            found = f"has {header.count(column)} columns" if column in header else "has no column"
            raise ValueError(f"{path} {found} '{column}'; its first line must name {', '.join(columns)}, each once.")
    if len(rows) < 2:
        raise ValueError(f"{path} has no row below its first line; add a row for each image, or remove the file.")
    for number, row in rows[1:]:
        if any(row[len(header) :]):
            raise ValueError(
                f"{path} has more fields in row {number} than in its first line; put quotation marks around an entry "
                "that holds a comma."
            )
        if any(len(field) > LONGEST for field in row[: len(header)]):
            raise ValueError(f"{path} has a field of over {LONGEST} letters in row {number}; shorten it.")
        if len(row) < len(header) or not all(row[header.index(column)] for column in columns):
            raise ValueError(f"{path} has an empty field in row {number}; fill it in or remove the row.")
    return [{column: row[header.index(column)] for column in columns} for _, row in rows[1:]]


def _fields(path: Path, number: int, line: str, delimiter: str) -> list[str]:
    if len(line) > csv.field_size_limit():
        raise ValueError(f"{path} has {len(line)} letters in row {number}; shorten the row.")
    try:
        (row,) = csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise ValueError(
            f"{path} has a quotation mark in row {number} that is not closed, or one too many; correct the row."
        ) from error
    return [field.strip() for field in row]
