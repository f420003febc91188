"""A file that is no table of `bench report` gets one sentence from `bench verify`, whatever is in it."""

import io
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rows import suite

from benchmark import run_records
from benchmark.cli import main
from benchmark.report.tables import all_tables
from benchmark.report.tables.formats import FORMATS
from benchmark.report.verify import verify

ROWS = suite(("supervised", "cdma"), ratios=(0.1,), draws=1)
TABLE = all_tables.tables(ROWS)["ratios"]
TEXTS = {ending: write(TABLE).encode() for ending, write in FORMATS.items()}


def bench(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for row in ROWS:
        run_records.save(row, folder)
    return folder


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("ending", [*FORMATS, "png"])
@pytest.mark.parametrize(
    "content", [picture(), b"", b"\n", b"\xff\xfe|\x00", b"\x00", b'"unclosed', b"," * 3, b"x" * 200_000],
)  # fmt: skip
def test_a_file_that_is_no_table_is_one_sentence(results, tmp_path, ending, content):
    path = tmp_path / f"table.{ending}"
    path.write_bytes(content)
    code, said = bench("verify", path, "--results", results)
    assert code == 1 and said.count("\n") == 1 and str(path) in said
    assert "bench report" in said


@pytest.mark.parametrize("words", [["verify"], ["simulate", "--out"], ["report", "--readme"]])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, words):
    os.mkfifo(tmp_path / "pipe.md")
    code, said = bench(*words, tmp_path / "pipe.md")
    assert code == 1 and said == f"Error: {tmp_path / 'pipe.md'} is not a regular file; give one.\n"


@pytest.mark.parametrize("ending", FORMATS)
def test_a_table_that_windows_saved_with_a_mark_of_order_holds(tmp_path, ending):
    (tmp_path / f"t.{ending}").write_bytes(b"\xef\xbb\xbf" + TEXTS[ending])
    assert verify(tmp_path / f"t.{ending}", ROWS).findings == []


@given(
    ending=st.sampled_from(sorted(FORMATS)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=8)), min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_with_any_bytes_changed_is_a_verdict_or_one_sentence(tmp_path, ending, edits):
    text = TEXTS[ending]
    for where, cut, put in edits:
        at = int(where * len(text))
        text = text[:at] + put + text[at + cut :]
    path = tmp_path / f"t.{ending}"
    path.write_bytes(text)
    try:
        verdict = verify(path, ROWS)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert verdict.tables
