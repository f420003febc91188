"""Names from users, as they stand in old run records or in classes.txt, are never HTML, links or cells of a table."""

import dataclasses
import html.parser
import re

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rows import row, suite

from benchmark import run_records
from benchmark.cli import main
from benchmark.report import folder, readme, verify
from benchmark.report.tables.table import Cell, Column, Line, Table, markdown, provenance, to_markdown

IMAGE, SCRIPT = "<img src=x onerror=alert(1)>", "--><script>alert(1)</script>"
LINK, CELL = "[a](https://example.org) ![b](https://example.org/b.png)", "a | b"
NASTY = f"{IMAGE} {SCRIPT} {LINK} {CELL}"


class Tags(html.parser.HTMLParser):
    """The tags of a text; a comment is one piece, as for a browser."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")], tag


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Everything that is written for runs on a dataset of which every name is nasty."""
    out = tmp_path_factory.mktemp("results")
    rows = suite(names=("supervised", "cdma"), ratios=(0.1,), dataset=NASTY, classes=("background", NASTY, "other"))
    for one in rows:
        one.certificate.leak = f"{NASTY} in two parts"
    folder.render(rows, out)
    return out, rows


def test_no_name_becomes_html_or_a_link_in_any_markdown(results):
    out, rows = results
    written = [path.read_text() for path in out.rglob("*.md")] + [readme.findings(rows, "")]
    assert len(written) > 2 and any("onerror" in text for text in written)
    for text in written:
        assert set(Tags(text).found) <= {"details", "summary"}
        assert not re.search(r"\]\(https", text)
        assert not re.search(r"!\[[^\]]*\]\((?!.*figures/)", text)


def test_a_name_does_not_add_a_cell_and_tables_verify(results):
    out, rows = results
    for path in sorted((out / "tables").rglob("*.md")):
        heads = [line for line in path.read_text().splitlines() if line.startswith("|")]
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in heads}) == 1
        verdict = verify.verify(path, rows)
        assert verdict.numbers and not verdict.findings, (path, verdict.findings)


def test_no_name_becomes_html_on_the_page(results):
    out, _ = results
    found = Tags((out / "index.html").read_text()).found
    assert "table" in found and "img" in found
    assert "<script>alert" not in (out / "index.html").read_text()


@given(text=st.text())
def test_a_markdown_text_is_one_line_without_tags_links_and_cells(text):
    written = markdown(text)
    assert "<" not in written and "](" not in written and len(written.splitlines()) < 2
    assert not re.search(r"(?<!\\)\|", written.replace("\\\\", ""))


@given(text=st.text())
def test_how_a_table_was_made_stays_inside_its_comment(text):
    table = Table("t", text, (Column(text, "text"),), (Line((Cell(text),)),), (text,), {"dataset": text})
    assert "--" + ">" not in provenance(table) and provenance(table).isascii() and "\n" not in provenance(table)
    assert Tags(to_markdown(table)).found == []
    assert to_markdown(dataclasses.replace(table, notes=())).count("\n") == 9


def test_sentences_that_are_not_utf_8_are_named(tmp_path):
    run_records.save(row(), tmp_path)
    (tmp_path / "reading.md").write_bytes("Größe".encode("latin-1"))
    found = CliRunner().invoke(main, ["report", "--results", str(tmp_path)])
    assert found.exit_code == 1
    assert found.output.splitlines()[-1].endswith(
        "reading.md is not UTF-8 text; save it in UTF-8 (CSV in UTF-8, if it is a table)."
    )
