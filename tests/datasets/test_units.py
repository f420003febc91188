"""A dataset whose images are grouped by organ: nothing that is reported of its runs speaks of patients."""

import re

import pytest
from rows import suite

from benchmark.analysis import family
from benchmark.analysis.run_table import comparisons
from benchmark.datasets.folder import Folder
from benchmark.report import folder
from benchmark.report.page.page import page
from benchmark.report.tables import all_tables, notes
from benchmark.report.tables.formats import rendered

CAUTION = "Images are grouped by organ, not by patient."
SPOKEN = re.compile(r"\bpatients?\b(?!\.csv)", re.IGNORECASE)


@pytest.fixture(scope="module")
def records():
    found = suite(draws=2)
    for record in found:
        record.unit = "organ"
        record.certificate.cautions = [CAUTION]
    return found


def test_every_table_names_the_unit_and_ends_with_the_caution(records):
    drawn = all_tables.tables(records)
    assert "patients" in drawn, "the name of a table stays, as it is the name of a file"
    for table in drawn.values():
        assert CAUTION in table.notes
        said = [table.title, *(column.full for column in table.columns), *table.notes]
        assert [text for text in said if SPOKEN.search(text.replace(CAUTION, ""))] == []
        assert "organ" in " ".join(said)
    assert "Patient" not in rendered(drawn["per_patient"])["csv"].partition("\n")[0]


def test_the_name_of_a_split_stays_as_it_is():
    """The split "patient" was printed as 'organ', which no --split accepts."""
    found = suite(draws=1, split="patient")
    for record in found:
        record.unit = "organ"
    for table in all_tables.tables(found).values():
        assert any(note.startswith("Split 'patient': test 24 images of 8 organs") for note in table.notes)


def test_every_table_says_at_which_resolution_the_runs_are():
    found = suite(draws=1, scale=0.5)
    for record in found:
        record.pixel_um = 0.5
    said = (
        "images and masks reduced to 0.5 of their height and width, 0.5 µm per pixel; scores, and distances in pixels,"
    )
    assert all(any(said in note for note in table.notes) for table in all_tables.tables(found).values())
    assert notes.resolution(suite()[0]) == ""


def test_captions_and_the_page_name_the_unit(records, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "FIGURES", {"score-ratio": folder.FIGURES["score-ratio"]})
    folder.render(records, tmp_path)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    shown = re.sub(r"<(script|style|svg).*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL)
    assert "24 test images of 8 organs" in shown
    assert CAUTION in shown
    assert [found for found in re.findall(r".{0,40}\b[Pp]atients?\b.{0,20}", shown) if CAUTION[:20] not in found] == []


def test_the_script_of_the_page_knows_the_unit(records):
    compared = family.together(comparisons(records))
    html = page(compared, {name: {"ratios": all_tables.table_of("ratios", of)} for name, of in compared.items()}, {})
    assert "data.unit" in html and "its patient" not in html


def test_splits_of_a_folder_speak_of_patients_so_that_the_unit_can_take_their_place():
    assert all(SPOKEN.search(about) or name == "file" for name, about in Folder.splits.items())
