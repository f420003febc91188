"""Reading the small CSV tables that lie beside images."""

import csv
from pathlib import Path

from benchmark.datasets.images import nfc


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file, with the asked columns by their lower-case names.

    Any line ends, commas or semicolons, a byte-order mark and blanks around fields are understood.
    """
    try:
        lines = [line for line in nfc(path.read_bytes().decode("utf-8-sig")).splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text; save it as CSV in UTF-8.") from error
    delimiter = ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
    rows = [[field.strip() for field in row] for row in csv.reader(lines, delimiter=delimiter)]
    header = [field.lower() for field in rows[0]] if rows else []
    missing = [column for column in columns if column not in header]
    if missing:
        raise ValueError(f"{path} has no column '{missing[0]}'; its first line must name {', '.join(columns)}.")
    for number, row in enumerate(rows[1:], 2):
        if len(row) < len(header) or not all(row[header.index(column)] for column in columns):
            raise ValueError(f"{path} has an empty field in row {number}; fill it in or remove the row.")
    return [{column: row[header.index(column)] for column in columns} for row in rows[1:]]
