"""A table that says anything else than its rows is found out; one that is only worded or ordered otherwise is not."""

import random
import re

import msgspec
import pytest
from click.testing import CliRunner
from rows import row, suite

from benchmark import progress, run_records
from benchmark.analysis import family, run_table
from benchmark.analysis.comparison import Comparison, Options
from benchmark.cli import main
from benchmark.report import folder, prose, readme
from benchmark.report.tables import all_tables
from benchmark.report.tables.formats import FORMATS
from benchmark.report.tables.table import END, PROVENANCE
from benchmark.report.verify import verify

ROWS = [
    *suite(("supervised", "mean_teacher", "cdma", "unimatch_v2"), draws=2, empty=(1, 2), patients=12),
    row("cdma", variant="no_um", empty=(1, 2), patients=12),
    *(row(name, variant="labels_only", empty=(1, 2), patients=12) for name in ("mean_teacher", "cdma")),
    row("cps", steps=800, empty=(1, 2), patients=12),
    row("cps", draw=1, status="diverged"),
]
DRAWN, PLAIN = all_tables.tables(ROWS), Options()


@pytest.fixture(autouse=True)
def drawn_once(monkeypatch):
    """The same table from the same rows is computed once."""
    known, table_of = {}, all_tables.table_of

    def again(name, records, options=PLAIN):
        comparison = Comparison.of(records, options)
        others = (key for other in comparison.published_with for key in other.records)
        of = (name, comparison.options, *comparison.records, *others)
        if of not in known:
            known[of] = table_of(name, comparison)
        return known[of]

    monkeypatch.setattr(all_tables, "table_of", again)


def written(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


def found(path, text: str, rows=ROWS) -> list[str]:
    return [str(finding) for finding in verify(written(path, text), rows).findings]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", DRAWN)
def test_a_table_as_drawn_holds(tmp_path, name, ending):
    verdict = verify(written(tmp_path / f"t.{ending}", FORMATS[ending](DRAWN[name])), ROWS)
    assert verdict.findings == []
    assert verdict.tables == 1
    assert verdict.numbers > 10


@pytest.mark.parametrize("ending", FORMATS)
def test_a_digit_that_is_changed_is_found(tmp_path, ending):
    text = FORMATS[ending](DRAWN["ratios"])
    digits = [place for place, sign in enumerate(text) if sign.isdigit()]
    assert len(digits) > 200
    for place in random.Random(0).sample(digits, 60):
        other = str((int(text[place]) + 1 + place % 9) % 10)
        changed = text[:place] + other + text[place + 1 :]
        assert found(tmp_path / f"t.{ending}", changed), f"{text[place - 30 : place]}[{text[place]} → {other}]"


@pytest.mark.slow
@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", DRAWN)
def test_every_digit_of_every_table_that_is_changed_is_found(tmp_path, name, ending):
    text, drawn = FORMATS[ending](DRAWN[name]), random.Random(0)
    for place in (place for place, sign in enumerate(text) if sign.isdigit()):
        other = drawn.choice([sign for sign in "0123456789" if sign != text[place]])
        changed = text[:place] + other + text[place + 1 :]
        assert found(tmp_path / f"t.{ending}", changed), f"{text[place - 30 : place]}[{text[place]} → {other}]"


@pytest.mark.slow
def test_every_digit_of_a_table_in_the_index_that_is_changed_is_found(results, tmp_path):
    rows, drawn = run_table.load(results), random.Random(0)
    text = (results / "README.md").read_text(encoding="utf-8")
    tables_ = list(re.finditer(rf"{PROVENANCE} .*?{END}", text, re.DOTALL))
    assert len(tables_) == len(run_table.comparisons(rows))
    for place in (k for table in tables_ for k in range(*table.span()) if text[k].isdigit()):
        other = drawn.choice([sign for sign in "0123456789" if sign != text[place]])
        edited = text[:place] + other + text[place + 1 :]
        assert found(tmp_path / "t.md", edited, rows), f"{text[place - 30 : place]}[{text[place]} → {other}]"


def test_the_digits_are_changed_in_every_kind_of_table():
    comparison = Comparison(ROWS)
    assert {*DRAWN} | {"objects"} == {*all_tables._functions(comparison)}, (
        "all but objects, of which calibration has the name"
    )
    assert "ablation_cdma" in DRAWN


def changed(text: str, line: str, before: str, after: str) -> str:
    """The text with a replacement in the first line that begins so."""
    number = next(k for k, of in enumerate(text.split("\n")) if of.startswith(line) and before in of)
    lines = text.split("\n")
    lines[number] = lines[number].replace(before, after, 1)
    return "\n".join(lines)


@pytest.mark.parametrize(("ending", "line"), [("md", "| CDMA |"), ("tex", "CDMA~")])
def test_a_finding_says_where_what_it_says_and_what_it_should_say(tmp_path, ending, line):
    text = FORMATS[ending](DRAWN["ratios"])
    cells = next(of.cells for of in DRAWN["ratios"].lines if of.cells[0].text == "CDMA")
    says = cells[1].text.split()[0]
    (finding,) = found(tmp_path / f"t.{ending}", changed(text, line, says, "12.3"))
    assert "line 'CDMA', column 'Dice ↑: 10 %'" in finding
    assert re.search(rf"says \D*12\.3.*should say \D*{re.escape(says)}", finding)


def test_a_sign_and_a_claim_of_being_tied_are_checked_too(tmp_path):
    path, paired = tmp_path / "t.md", FORMATS["md"](DRAWN["paired"])
    assert found(path, paired.replace(" −", " +", 1))
    ratios = FORMATS["md"](DRAWN["ratios"])
    assert found(path, ratios.replace("**", "").replace("Dice by", "Dice  by"))
    assert found(path, ratios.replace("†", "", 1))


@pytest.mark.parametrize("ending", ["md", "tex"])
def test_words_may_be_changed(tmp_path, ending):
    text = FORMATS[ending](DRAWN["ratios"])
    edited = text.replace("Mean Teacher", "MT (ours)").replace("by labelled fraction", "for few labels")
    edited = edited.replace("Mean over test images", "We give the mean over all test images").replace("FLOPs", "Cost")
    assert edited != text
    assert found(tmp_path / f"t.{ending}", edited) == []


def test_lines_and_columns_may_be_reordered_or_left_out_and_notes_dropped(tmp_path):
    path, lines = tmp_path / "t.md", FORMATS["md"](DRAWN["ratios"]).split("\n")
    body = [k for k, line in enumerate(lines) if line.startswith("|")][2:]
    lines[body[0]], lines[body[2]] = lines[body[2]], lines[body[0]]
    del lines[body[1]]
    assert found(path, "\n".join(lines)) == []
    swapped = []
    for line in lines:
        cells = line.split("|")
        swapped.append("|".join([cells[0], cells[1], cells[3], cells[2], *cells[5:]]) if line.startswith("|") else line)
    assert found(path, "\n".join(swapped)) == []
    assert found(path, "\n".join(line for line in lines if not line.startswith("- "))) == []
    wrong = "\n".join(swapped).replace("| CDMA | ", "| CDMA | 1", 1)
    assert wrong != "\n".join(swapped)
    assert "line 'CDMA', column 'Dice ↑: 20 %'" in found(path, wrong)[0]


def test_numbers_whose_place_is_not_in_the_table_are_named_so(tmp_path):
    text = FORMATS["md"](DRAWN["ratios"])
    more = changed(text, "| CDMA |", "| CDMA |", "| Ours | **99.9** [99.0, 99.9] | – | – | 1.00 |\n| CDMA |")
    (finding,) = found(tmp_path / "t.md", more)
    assert "line 'Ours'" in finding
    assert "there is no such line" in finding


def test_tables_in_a_paper_are_found_by_the_line_that_came_with_them(tmp_path):
    paper = "\\section{3 Results of 2026}\n" + FORMATS["tex"](DRAWN["ratios"]) + "In 17 cases \\dots\n"
    paper += FORMATS["tex"](DRAWN["paired"]) + "\\end{document}\n"
    path = written(tmp_path / "paper.tex", paper)
    assert (verify(path, ROWS).tables, verify(path, ROWS).findings) == (2, [])
    broken = paper.replace("\\midrule", "\\midrule\nCDMA & 3 \\\\", 1)
    assert found(path, broken)


def test_a_file_without_a_table_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="keep the line 'bench table …'"):
        verify(written(tmp_path / "t.md", "| a | 1 |\n"), ROWS)
    with pytest.raises(ValueError, match="none of .csv, .md, .tex"):
        verify(written(tmp_path / "t.txt", ""), ROWS)


def test_a_csv_file_that_pandas_wrote_again_holds(tmp_path):
    import pandas as pd

    path = written(tmp_path / "t.csv", FORMATS["csv"](DRAWN["comparison"]))
    source = path.read_text(encoding="utf-8").partition("\n")[0]
    frame = pd.read_csv(path, comment="#")
    again = frame.sort_values("value").to_csv(index=False)
    assert verify(written(path, f"{source}\n{again}"), ROWS).findings == []


def test_the_parts_of_a_wide_latex_table_are_each_checked(tmp_path):
    """A table wider than a page is split by columns; a changed number in the second part went unseen."""
    text = FORMATS["tex"](DRAWN["comparison"])
    assert text.count("begin{tabular}") > 1
    second = text.index("begin{tabular}", text.index("begin{tabular}") + 1)
    place = text.index("CDMA", second) + next(k for k, s in enumerate(text[text.index("CDMA", second) :]) if s == ".")
    edited = text[: place + 1] + str(9 - int(text[place + 1])) + text[place + 2 :]
    assert found(tmp_path / "t.tex", text) == []
    assert len(found(tmp_path / "t.tex", edited)) == 1


# ----------------------------------------------------------------------------------------------------------------------
# Rows that have changed


def test_a_run_that_was_added_or_deleted_is_said(tmp_path):
    text = FORMATS["md"](DRAWN["ratios"])
    fewer = found(tmp_path / "t.md", text, ROWS[1:])
    assert any("'runs' of the source" in finding for finding in fewer)
    assert found(tmp_path / "t.md", text, [*ROWS, row("cps", ratio=0.2, empty=(1, 2), patients=12)])


def test_runs_outside_of_what_was_drawn_change_nothing(tmp_path):
    more = [row("dtc"), row("cdma", seed=5), row("cdma", ratio=0.5), row("cdma", encoder="resnet34")]
    more = [msgspec.structs.replace(one, scores=ROWS[0].scores) for one in more]
    text = FORMATS["md"](DRAWN["comparison"])
    assert found(tmp_path / "t.md", text, [*ROWS, *more]) == []


def test_a_row_with_other_numbers_is_found(tmp_path):
    other = row("cdma", draw=1, empty=(1, 2), better=2.0, patients=12)
    assert found(
        tmp_path / "t.md", FORMATS["md"](DRAWN["comparison"]), [r if r.key != other.key else other for r in ROWS]
    )


def test_the_options_of_a_table_are_part_of_it(tmp_path):
    table = all_tables.tables(ROWS, Options("hd95", uneven=True))["ratios"]
    assert found(tmp_path / "t.md", FORMATS["md"](table)) == []


def test_p_values_are_adjusted_over_what_was_published_together(tmp_path):
    """A table of claims depends on the other comparisons of its report, and is out of date when there are more."""
    other = [
        msgspec.structs.replace(one, scores=ROWS[0].scores)
        for one in suite(("supervised", "cps"), draws=2, dataset="glas", patients=12)
    ]
    together = family.together(run_table.comparisons([*ROWS, *other]))
    text = FORMATS["md"](all_tables.table_of("paired", together["phantom"]))
    assert "over all 8 differences to supervised in the 2 comparisons" in text
    assert found(tmp_path / "t.md", text, [*ROWS, *other]) == []
    assert found(tmp_path / "t.md", text, ROWS)


@pytest.mark.parametrize("damage", ['"metric": "dise"', '"metric": 1', '"metrics": "dice"'])
def test_a_damaged_provenance_is_a_finding(tmp_path, damage):
    text = FORMATS["md"](DRAWN["ratios"]).replace('"metric": "dice"', damage)
    assert "source" in found(tmp_path / "t.md", text)[0]


# ----------------------------------------------------------------------------------------------------------------------
# Commands


@pytest.fixture(scope="module", autouse=True)
def few_figures():
    """Two figures are enough to see that figures are drawn."""
    few = {kind: folder.FIGURES[kind] for kind in ("score-ratio", "differences")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "FIGURES", few)
        yield


@pytest.fixture(scope="module")
def results(few_figures, tmp_path_factory):
    """A folder with rows of two datasets and all that is drawn from them."""
    at = tmp_path_factory.mktemp("results")
    methods = ("supervised", "mean_teacher", "cps", "cdma")
    variants = [row("cdma", variant=variant, patients=12) for variant in ("no_um", "labels_only")]
    for one in [*suite(methods, draws=3, patients=12), *variants, row("cdma", dataset="glas", objects=True)]:
        run_records.save(one, at)
    done = CliRunner().invoke(main, ["report", "--results", str(at), "--no-panels"])
    assert done.exit_code == 0, done.output
    return at


def test_report_draws_tables_figures_a_page_and_an_index(results):
    for name in ("tables/phantom/comparison.tex", "tables/glas/objects.csv", "figures/phantom/score-ratio.pdf"):
        assert (results / name).stat().st_size > 100
    index = (results / "README.md").read_text()
    for link in re.findall(r"\]\(([^)]+)\)", index):
        assert (results / link).exists(), link
    assert "<html" in (results / "index.html").read_text()


def test_everything_that_was_drawn_holds(results):
    files = [str(path) for path in [*results.glob("tables/*/*"), results / "README.md"]]
    done = CliRunner().invoke(main, ["verify", *files, "--results", str(results)])
    assert done.exit_code == 0, done.output
    assert f"{results / 'README.md'}: all" in done.output


def test_verify_fails_and_names_what_does_not_hold(results, tmp_path):
    text = (results / "tables/phantom/ratios.md").read_text()
    path = written(tmp_path / "t.md", changed(text, "| CDMA |", ".", ".9"))
    done = CliRunner().invoke(main, ["verify", str(path), "--results", str(results)])
    assert done.exit_code == 1
    assert f"{path}, line" in done.output
    assert "1 number does not match the run records." in done.output


@pytest.mark.slow
def test_drawing_twice_gives_the_same_bytes(results, tmp_path):
    done = CliRunner().invoke(main, ["report", "--results", str(results), "--out", str(tmp_path), "--no-panels"])
    assert done.exit_code == 0, done.output
    drawn = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(drawn) > 50
    for name, path in drawn.items():
        assert path.read_bytes() == (results / name).read_bytes(), name


def test_a_suite_is_drawn_alone_and_one_without_rows_is_refused(results, tmp_path):
    plain = ["--results", str(results), "--out", str(tmp_path), "--no-panels"]
    done = CliRunner().invoke(main, ["report", "quick", *plain])
    assert done.exit_code == 0, done.output
    assert "20 %" not in (tmp_path / "tables/phantom/comparison.md").read_text(), "the suite has one ratio"
    done = CliRunner().invoke(main, ["report", "quik", *plain])
    assert "no suite 'quik'; did you mean 'quick'" in done.output
    done = CliRunner().invoke(main, ["report", "--results", str(tmp_path / "none")])
    assert "There are no run records" in done.output
    assert "bench sweep quick" in done.output


def test_the_means_of_the_main_table_are_printed(results, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_S", -1)  # as on a very slow machine
    done = CliRunner().invoke(main, ["report", "--results", str(results), "--out", str(tmp_path), "--no-panels"])
    assert done.stdout.startswith("Dice by labelled") and "s left" in done.stderr
    assert "* not significantly worse than the best of its column" in done.stdout
    printed = next(line for line in done.stdout.splitlines() if "│ CDMA " in line)
    written_ = next(
        line for line in (tmp_path / "tables/phantom/ratios.md").read_text().splitlines() if "| CDMA " in line
    )
    cells = [cell.strip() for cell in written_.strip("|").split("|")]
    means = [cell.partition(" [")[0].strip("*") + "*" * cell.startswith("**") for cell in cells]
    assert [cell.strip() for cell in printed.strip("│").split("│")] == means


def test_the_blocks_of_a_readme_are_replaced_and_the_rest_kept(results, tmp_path):
    marks = [f"<!-- {name}: written by bench report -->\nstale text\n<!-- end of {name} -->" for name in readme.BLOCKS]
    path = written(tmp_path / "README.md", "# Title\n\n" + "\n\n".join(marks) + "\n\nEnd.\n")
    done = CliRunner().invoke(main, ["report", "--results", str(results), "--no-panels", "--readme", str(path)])
    assert done.exit_code == 0, done.output
    text = path.read_text()
    assert text.startswith("# Title\n\n<!-- findings") and text.endswith("-->\n\nEnd.\n")
    assert "stale text" not in text
    assert "figures/phantom/" in readme.block_of(text, "findings"), "a figure of the comparison with most runs"
    assert "(`cdma`, MICCAI)" in readme.block_of(text, "methods")
    assert "research only" in readme.block_of(text, "datasets")
    written(path, "# Title\n")
    done = CliRunner().invoke(main, ["report", "--results", str(results), "--no-panels", "--readme", str(path)])
    assert done.exit_code == 1
    assert "has no place for the results" in done.output


def test_folders_of_comparisons_that_are_gone_are_named(results):
    (old := results / "tables" / "phantom-steps-9").mkdir(parents=True)
    done = CliRunner().invoke(main, ["report", "--results", str(results), "--no-panels"])
    assert done.exit_code == 0, done.output
    assert [line.split()[1] for line in done.output.splitlines() if line.startswith("Old")] == [f"{old}:"]


def test_the_readme_shows_the_published_records():
    from pathlib import Path

    root = Path(__file__).parents[2]
    text = (root / "README.md").read_text(encoding="utf-8")
    rows, template = run_table.load(root / "results"), root / "results" / prose.FILE
    findings = prose.read(template.read_text(encoding="utf-8"), rows)
    assert readme.block_of(text, "findings") == readme.findings(rows, findings)
    assert readme.block_of(text, "methods") == readme.method_table()
    assert readme.block_of(text, "datasets") == readme.dataset_table()
    assert findings in (root / "results" / "README.md").read_text(encoding="utf-8")


def test_predictions_are_shown_where_weights_and_images_are_here(data, store, toy, tmp_path):
    from benchmark.protocol import checkpoint, train

    row = train.train(toy, store, tmp_path)
    plain = ["report", "--results", str(tmp_path), "--data", str(data)]
    done = CliRunner().invoke(main, plain)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "figures/toy/qualitative.png").stat().st_size > 1000
    with_overlays = (tmp_path / "index.html").stat().st_size
    checkpoint.weights_path(tmp_path, row.key).unlink()
    (tmp_path / "figures/toy/qualitative.png").unlink()
    done = CliRunner().invoke(main, plain)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "figures/toy/qualitative.png").exists()
    assert (tmp_path / "index.html").stat().st_size < with_overlays
