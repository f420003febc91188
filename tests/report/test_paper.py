"""What a paper needs comes from the records: sentences, tables that verify, references."""

import re

from rows import suite

from benchmark.analysis import family, run_table
from benchmark.analysis.ranking import aggregate
from benchmark.report import paper
from benchmark.report.verify import verify

METHODS = ("supervised", "mean_teacher", "cps", "cdma")
RECORDS = suite(METHODS, (0.05, 0.1), draws=2, patients=12)


def compared(records=RECORDS):
    return family.together(run_table.comparisons(records))


def test_the_files_of_a_paper_are_written_and_its_tables_verify(tmp_path):
    paths = paper.write(compared(), tmp_path)
    names = {path.name for path in paths}
    assert {"methods.md", "checklist.md", "references.bib", "datasets.tex", "aggregate.csv"} <= names
    for path in paths:
        if path.suffix in (".csv", ".tex") or path.name in ("datasets.md", "aggregate.md"):
            assert verify(path, RECORDS).findings == [], path.name
    text = (tmp_path / "paper" / "methods.md").read_text(encoding="utf-8")
    assert "Compared are Supervised, Mean Teacher, CPS, CDMA." in text
    assert "400 steps of 4 labelled and 4 unlabelled crops" in text and "12 patients" in text
    assert set(re.findall(r"@\w+{([^,]+),", (tmp_path / "paper" / "references.bib").read_text())) == set(METHODS)


def test_the_aggregate_is_over_settings_with_equal_weight_and_has_shares_of_the_headroom():
    (one,) = compared().values()
    found = {line.label: line for line in aggregate([one])}
    assert set(found) == {"Supervised", "Mean Teacher", "CPS", "CDMA"}
    assert {line.settings for line in found.values()} == {2}
    assert abs(sum(line.rank for line in found.values()) - 10) < 1e-9, "ranks of four methods"
    assert abs(sum(line.first for line in found.values()) - 1) < 1e-9
    assert all(line.rank_low <= line.rank <= line.rank_high for line in found.values())
    shares = [one.gap_closed(ratio, "dice")["CDMA"].mean for ratio in (0.05, 0.1)]
    assert abs(found["CDMA"].gap - sum(shares) / 2) < 1e-12


def test_nothing_is_aggregated_with_few_patients_or_without_headroom():
    assert aggregate(list(compared(suite(METHODS, (0.1,), draws=2, patients=8)).values())) == []
    assert aggregate(list(compared(suite(METHODS, (0.1,), draws=2, patients=12, bounds=False)).values())) == []


def test_the_checklist_says_what_the_records_do_not_know():
    text = paper.checklist(list(compared().values()))
    assert "audited: yes; leaks: none known" in text and "18 finished, 0 diverged" in text
    assert text.count(paper.OPEN) >= 3
