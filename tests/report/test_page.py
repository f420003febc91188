"""The page of results: right numbers, nothing from elsewhere, small, and usable in a real browser."""

import base64
import colorsys
import html
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from PIL import Image
from rows import row, suite

from benchmark.analysis import family, run_table
from benchmark.analysis.comparison import Comparison
from benchmark.report.page import payload
from benchmark.report.page.overlays import panel, typical_images
from benchmark.report.page.page import LIMIT, Section, page
from benchmark.report.page.picture import Picture, picture
from benchmark.report.tables import all_tables

NASTY = 'A <b>bold</b> & "quoted" </script><script>alert(1)</script> name'


class Document(HTMLParser):
    """What a browser finds in the page: elements with their attributes, and the text in them."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.texts.append("")

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data

    def all(self, tag: str, **having: str) -> list[tuple[dict[str, str], str]]:
        """Attributes and text of the elements of a kind, of those that have these attributes."""
        return [
            (attributes, text.strip())
            for (name, attributes), text in zip(self.elements, self.texts, strict=True)
            if name == tag and all(attributes.get(key.rstrip("_")) == value for key, value in having.items())
        ]


def some_tables(rows, *names: str) -> dict[str, dict[str, all_tables.Table]]:
    """Those tables of each comparison; without names the first, which is written most quickly."""
    return {
        comparison: {name: all_tables.table_of(name, of) for name in names or ("ratios",)}
        for comparison, of in family.together(run_table.comparisons(rows)).items()
    }


def drawn(rows, figures=None, panels=None, tables=None, **more) -> str:
    compared = family.together(run_table.comparisons(rows))
    return page(compared, tables or some_tables(rows), figures or {}, panels, **more)


def opened(text: str) -> dict[str, dict]:
    """What the cells of each comparison open, by the comparison's place in the address."""
    packed = Document(text).all("script", type="application/octet-stream")
    return {about["id"].removesuffix("-data"): payload.unpack(data) for about, data in packed}


def png(side: int = 300) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.indices((side, side)).sum(0).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def figure(side: int = 300) -> Picture:
    return picture(png(side), "What is seen, and of how many.")


# ----------------------------------------------------------------------------------------------------------------------
# What is on the page


@pytest.fixture(scope="module")
def whole():
    """Rows of three methods and tables of them: by columns, by blocks, of one method and of two."""
    rows = suite(("supervised", "mean_teacher", "cdma"), draws=2, seeds=1)
    return rows, some_tables(rows, "ratios", "comparison", "paired")["phantom"]


def test_every_cell_says_what_its_table_says(whole):
    rows, wanted = whole
    text = drawn(rows, tables={"phantom": wanted})
    for name, table in wanted.items():
        [body] = re.findall(rf'id="phantom-{name}".*?<tbody>(.*?)</tbody>', text, re.DOTALL)
        lines = [
            [html.unescape(re.sub(r"<.*?>", "", cell)).strip() for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", line)]
            for line in re.findall(r"<tr.*?</tr>", body, re.DOTALL)
        ]
        for line, wanted in zip(lines, table.lines, strict=True):
            if table.blocks:
                assert line.pop(1) == wanted.block
            assert line == [cell.text.replace(" [", "[") + "†" * cell.dagger for cell in wanted.cells]
        for note in table.notes:
            assert str(html.escape(note)).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in text


def test_a_cell_opens_the_runs_that_it_was_computed_from(whole):
    rows, wanted = whole
    section = Section(family.together({"phantom": rows})["phantom"], "phantom", wanted, (), {})
    runs, seen = payload.unpack(section.data)["runs"], set()
    for table in section.tables:
        blocks = bool(wanted[table["name"]].blocks)
        for (_, places), line in zip(table["lines"], wanted[table["name"]].lines, strict=True):
            del places[1 : 1 + blocks]
            for place, cell in zip(places, line.cells, strict=True):
                _, method, ratio, *versus = place.href.split("/") if place.href else ("", "", "")
                cells = {f"{name}/{ratio}" for name in (method, *versus[1:])}
                opened = {run["key"] for run in runs if run["cell"] in cells}
                assert set(cell.runs) <= opened or not place.href
                seen |= opened
                assert place.href or not cell.runs or len({ratio_of(key) for key in cell.runs}) > 1
    assert seen == {row.key for row in rows}


def ratio_of(key: str) -> str:
    return re.search(r"_r([0-9.]+)_", key)[1]


def test_what_a_cell_opens_has_the_mean_that_the_cell_shows(whole):
    rows, wanted = whole
    section = Section(family.together({"phantom": rows})["phantom"], "phantom", wanted, (), {})
    data = payload.unpack(section.data)
    by_key = {row.key: row for row in rows}
    assert section.tables[0]["name"] == "ratios"
    shown = {place.href: place for _, line in section.tables[0]["lines"] for place in line[1:-1] if place.href}
    assert len(shown) == 7  # three methods at two ratios, and the upper bound
    for href, place in shown.items():
        runs = [run for run in data["runs"] if run["cell"] == href.removeprefix("#phantom/")]
        for run in runs:
            dice = [score for [score] in by_key[run["key"]].scores["dice"]]
            assert [score / payload.SCALE for score in run["scores"]] == pytest.approx(dice, abs=1e-9)
            assert run["dice"] == pytest.approx(np.mean(dice), abs=1e-6)
        assert place.text == f"{100 * np.mean([run['dice'] for run in runs]):.1f}"


def test_images_without_a_score_stay_without_one_and_classes_are_averaged():
    three = row("cdma", classes=("background", "gland", "lumen"), images=3, patients=3, empty=(1, 2))
    three.scores["dice"] = [[0.5, 0.7], [None, 0.4], [None, None]]
    data = payload.opened(Comparison([three]), {"cdma": "CDMA"}, {three.key: "cdma/0.1"}, (), payload.Detail())
    assert data["runs"][0]["scores"] == [6000, 4000, None]
    assert data["runs"][0]["dice"] == pytest.approx((0.5 + (0.7 + 0.4) / 2) / 2), "a class weighs as much as another"


def test_rows_read_as_arrays_give_the_same_page(tmp_path):
    from benchmark import run_records

    rows = suite(draws=1, empty=(0, 1, 2))
    for one in rows:
        run_records.save(one, tmp_path)
    assert drawn(run_table.load(tmp_path)) == drawn(run_records.load(tmp_path))


def test_training_curves_are_thinned_to_means_of_neighbours():
    thin = payload._thinned({"step": list(range(1, 51)), "sup": [float(k) for k in range(50)], "u": [None] * 50})
    assert thin["step"] == list(range(2, 51, 2))
    assert thin["sup"] == [0.5 + 2 * k for k in range(25)]
    assert thin["u"] == [None] * 25


def test_a_diverged_run_is_opened_where_its_method_is_named():
    lost = row("fixmatch", status="diverged")
    text = drawn([*suite(draws=1), lost])
    [data] = opened(text).values()
    assert [run["key"] for run in data["runs"] if run["status"] == "diverged"] == [lost.key]
    assert "#phantom/fixmatch/0.1" in [about.get("href") for about, _ in Document(text).all("a")]
    assert "Diverged, and in no mean: FixMatch at 10 %, draw 0, seed 0." in text


def test_a_leak_of_the_split_stands_above_its_tables():
    rows = suite(draws=1)
    for one in rows:
        one.certificate.leak = "eleven of twelve test patients are in training"
    text = drawn(rows)
    assert text.index("This split leaks: eleven of twelve") < text.index('id="phantom-ratios"')


def test_figures_and_overlays_are_embedded_small():
    rows = suite(draws=1)
    blank = np.zeros((40, 40), np.uint8)
    shown = panel("image000", rows[0].key, np.full((40, 40, 3), 200, np.uint8), blank, blank)
    [name] = run_table.comparisons(rows)
    text = drawn(rows, {name: {"score-ratio": figure()}}, {name: [shown]})
    [(image, _)] = Document(text).all("img")
    assert image["alt"] == "Dice over the labelled fraction: phantom"
    assert "What is seen, and of how many." in text
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (300, 300)
    assert len(base64.b64decode(data)) < len(png())
    [overlay] = opened(text)[name]["overlays"]
    assert base64.b64decode(overlay["picture"]) == shown.picture
    assert (overlay["image"], overlay["key"]) == ("image000", rows[0].key)


def test_the_command_of_a_run_trains_the_same_run():
    from benchmark.cli import main

    one = row("cdma", variant="no_um", settings={"temperature": 5.0}, ratio=0.2, seed=3, steps=800, lr=0.01).run
    words = payload.command(one).split()
    assert words[:2] == ["bench", "run"] and "--variant" in words and "temperature=5.0" in words
    parsed = main.commands["run"].make_context("run", words[2:]).params
    assert parsed["steps"] == 800 and parsed["lr"] == 0.01 and parsed["method"] == "cdma"


def test_every_figure_has_a_title():
    from benchmark.report import folder
    from benchmark.report.figures import all_figures
    from benchmark.report.page.page import TITLES

    assert {*all_figures.FIGURES, folder.QUALITATIVE} == set(TITLES)


# ----------------------------------------------------------------------------------------------------------------------
# Safe and small


def test_names_are_text_wherever_they_come_from():
    rows = suite(draws=1)
    for one in rows:
        one.title = f"{NASTY} {one.run.method}"
        one.scores["name"][0] = one.scores["patient"][0] = NASTY
        one.certificate.leak = NASTY
    document, plain = Document(drawn(rows)), Document(drawn(suite(draws=1)))
    assert len(document.all("script")) == len(plain.all("script"))
    assert not document.all("b")
    assert html.escape(f"{NASTY} cdma").replace("&quot;", "&#34;") in drawn(rows)
    [data] = opened(drawn(rows)).values()
    assert data["images"][0] == NASTY


def test_nothing_is_asked_from_elsewhere():
    [name] = run_table.comparisons(rows := suite(draws=1))
    text = drawn(rows, {name: {"figure": figure()}})
    document = Document(text)
    for tag, attributes in document.elements:
        for attribute in ("src", "href", "action", "data", "srcset"):
            address = attributes.get(attribute, "")
            assert ":" not in address or address.startswith("data:"), f"{tag} asks for {address[:50]}"
        assert not [attribute for attribute in attributes if attribute.startswith("on") or attribute == "style"]
    assert "tables/phantom/ratios.csv" in [about.get("href") for about, _ in document.all("a")]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style
    [policy] = [about["content"] for about, _ in document.all("meta") if "http-equiv" in about]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_equal_rows_give_an_equal_page():
    assert drawn(suite(draws=1)) == drawn(suite(draws=1))


def test_a_page_that_is_too_large_keeps_means_over_runs_and_says_so():
    rows = suite(draws=3, seeds=2, images=200)
    once = some_tables(rows)
    whole = drawn(rows, tables=once)
    small = drawn(rows, tables=once, limit=len(whole.encode()) - 20_000)
    assert len(small.encode()) <= len(whole.encode()) - 20_000
    assert "the mean over the runs" in small and "the mean over the runs" not in whole
    [data] = opened(small).values()
    assert {run["key"] for run in data["runs"]} == {one.key for one in rows}
    assert not any("scores" in run for run in data["runs"])
    for cell, means in data["means"].items():
        keys = {run["key"] for run in data["runs"] if run["cell"] == cell}
        dice = np.mean([one.scores["dice"] for one in rows if one.key in keys], axis=0)[:, 0]
        assert np.array(means) / payload.SCALE == pytest.approx(dice, abs=0.5001 / payload.SCALE)


def test_what_is_left_out_next_is_named_too_and_what_never_fits_is_refused():
    rows = suite(draws=2, seeds=2, images=60)
    [name] = once = some_tables(rows)
    once[name] |= {"comparison": once[name]["ratios"], "further": once[name]["ratios"]}
    figures = {name: {"a figure": figure(400)}}

    def fitted(limit: int) -> str:
        return drawn(rows, figures, tables=once, limit=limit)

    text, sizes = fitted(LIMIT), []
    for said in ("the mean over the runs", "training curves were", "further tables were", "figures were"):
        assert said not in text
        sizes.append(len(text.encode()))
        text = fitted(sizes[-1] - 1)
        assert said in text and len(text.encode()) < sizes[-1]
        assert "overlays were left out" not in text  # there were none
    assert not any("training" in run for run in opened(text)[name]["runs"])
    assert not Document(text).all("img")
    assert len(re.findall('<table class="sortable', text)) == 2
    with pytest.raises(ValueError, match="render fewer comparisons"):
        fitted(len(text.encode()) - 1)


@pytest.mark.slow
def test_all_methods_at_all_ratios_with_many_runs_of_668_images_stay_below_the_limit():
    import methods

    rows = suite(methods.names(), (0.05, 0.1, 0.2, 0.5), draws=3, seeds=3, images=668, patients=102)
    text = drawn(rows)
    assert len(text.encode()) <= LIMIT == 5_000_000
    assert "To keep the page small" not in text


def test_text_stands_out_from_its_ground_in_light_and_dark():
    style = Path(payload.__file__).with_name("page.css").read_text()
    pairs = dict(re.findall(r"--(\w+): light-dark\((#\w{6}, #\w{6})\)", style))
    colours = {name: pair.split(", ") for name, pair in pairs.items()}
    for text in ("ink", "soft", "link", "warn"):
        for ground in ("paper", "raised", "tie"):
            for mode in (0, 1):
                assert contrast(colours[text][mode], colours[ground][mode]) >= 4.5, (text, ground, mode)
    for line in ("one", "two", "three", "four"):
        assert min(contrast(*pair) for pair in zip(colours[line], colours["paper"], strict=True)) >= 3, line


def contrast(one: str, other: str) -> float:
    """WCAG 2.1's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, pale = sorted((luminance(one), luminance(other)))
    return (pale + 0.05) / (dark + 0.05)


# ----------------------------------------------------------------------------------------------------------------------
# Overlays


def test_a_panel_is_blue_where_only_the_truth_ends_and_orange_where_the_prediction_does():
    truth, prediction = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    truth[10:30, 10:30] = 1
    prediction[10:30, 50:70] = 1
    made = panel("image", "key", np.full((60, 80, 3), 230, np.uint8), truth, prediction)
    drawn = np.asarray(Image.open(io.BytesIO(made.picture)).convert("RGB"))
    assert drawn.shape == (60, 80, 3)
    assert hue(drawn[:, :40]) == pytest.approx(0.57, abs=0.06)  # blue
    assert hue(drawn[:, 40:]) == pytest.approx(0.11, abs=0.06)  # orange


def hue(pixels: np.ndarray) -> float:
    """The hue of the most colourful pixel."""
    colours = [colorsys.rgb_to_hsv(*pixel / 255) for pixel in pixels.reshape(-1, 3)]
    return max(colours, key=lambda colour: colour[1])[0]


def test_panels_of_large_images_are_small_and_of_several_classes_side_by_side():
    generator = np.random.default_rng(0)
    image = generator.integers(100, 255, (700, 500, 3), dtype=np.uint8)
    labels = np.kron(generator.integers(0, 3, (7, 5)), np.ones((100, 100))).astype(np.uint8)
    made = panel("image", "key", image, labels, labels)
    width, height = Image.open(io.BytesIO(made.picture)).size
    assert height == 288 and width == 2 * round(500 * 288 / 700) + 4
    assert len(made.picture) < 40_000


def test_typical_images_go_from_the_worst_to_the_best():
    one = row("cdma", images=5, patients=5)
    one.scores["dice"] = [[0.9], [0.1], [0.5], [None], [0.7]]
    names = one.scores["name"]
    assert typical_images([one], 2) == [names[1], names[0]]
    assert typical_images([one], 9) == [names[1], names[2], names[4], names[0]]
    assert typical_images([row(status="diverged")]) == []


# ----------------------------------------------------------------------------------------------------------------------
# In a real browser


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; `apt-get install chromium` brings one")
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page of two comparisons, with a nasty name, a leak, a figure and an overlay."""
    rows = suite(("supervised", "mean_teacher", "cdma", "fixmatch"), draws=2)
    rows += [*suite(("supervised", "cdma"), dataset="glas", draws=1), row("ict", status="diverged")]
    for one in rows:
        if one.status == "done":
            one.scores["name"][0] = NASTY
    blank = np.zeros((40, 40), np.uint8)
    overlay = panel(NASTY, rows[0].key, np.full((40, 40, 3), 200, np.uint8), blank, blank)
    path = tmp_path_factory.mktemp("page") / "index.html"
    tables_ = some_tables(rows, "ratios", "comparison", "paired")
    path.write_text(drawn(rows, {"phantom": {"a figure": figure()}}, {"phantom": [overlay]}, tables=tables_))
    return path, rows


@pytest.fixture
def visit(browser, made):
    """The page, open; at the end nothing may have gone wrong in it, nor may it have asked for anything."""
    browser.size(1400, 900)
    browser.open(made[0])
    yield browser
    assert browser.errors == []
    assert {request for request in browser.requests if not request.startswith("data:")} <= {made[0].as_uri()}


OPENED = "document.getElementById('drawer').open && document.querySelector('#drawer-body h3') !== null"
FIRST_COLUMN = """
[...document.querySelectorAll('#phantom-ratios tbody tr')]
  .filter(r => !r.hidden).map(r => r.cells[0].innerText.replace('★', '').trim())
"""


def column_of(browser, place: int) -> list[float | None]:
    cells = f"[...document.querySelectorAll('#phantom-ratios tbody tr')].map(r => r.cells[{place}].innerText)"
    texts = [text.split("\n")[0] for text in browser.value(cells)]
    return [None if text == "–" else float(text) for text in texts]


def test_a_column_is_sorted_by_mouse_and_by_keyboard_with_dashes_last(visit):
    head = "#phantom-ratios th:nth-child(2)"  # at 10 %
    visit.click(f"{head} button")
    assert visit.value(f"document.querySelector('{head}').ariaSort") == "descending"
    values = column_of(visit, 1)
    there = [value for value in values if value is not None]
    assert len(there) == 4 and values[4:] == [None]  # of the method that diverged
    assert all(a >= b for a, b in pairwise(there)) and there[0] > there[-1]

    visit.value(f"document.querySelector('{head} button').focus()")
    visit.press("Enter")
    assert visit.value(f"document.querySelector('{head}').ariaSort") == "ascending"
    assert column_of(visit, 1) == [*sorted(there), None]

    visit.click("#phantom-ratios th:first-child button")
    names = visit.value(FIRST_COLUMN)
    assert names == sorted(names, key=str.lower)
    assert visit.value("document.querySelectorAll('#phantom-ratios [aria-sort]').length") == 1


def test_a_cell_opens_its_runs_their_images_and_curves_and_closes_again(visit, made):
    visit.click('#phantom-ratios a[href="#phantom/cdma/0.1"]')
    visit.until(OPENED)
    found = visit.value("[...document.querySelectorAll('#drawer-body a[href^=\"runs/\"]')].map(a => a.innerText)")
    runs = run_table.runs_frame(made[1])
    wanted = runs[(runs.method == "cdma") & (runs.ratio == 0.1)]
    assert sorted(found) == sorted(key for key in wanted.key if "phantom" in key)
    assert visit.value("document.querySelectorAll('#drawer-body .dots circle').length") == 24
    assert visit.value("document.querySelectorAll('#drawer-body .curves figure').length") == 2
    scores = visit.value(
        "[...document.querySelectorAll('#drawer-body .short tbody tr')].map(r => r.cells[1].innerText)"
    )
    assert len(scores) == 24 and scores == sorted(scores, key=float)  # the worst first
    assert NASTY in visit.value("[...document.querySelectorAll('#drawer-body .short td')].map(d => d.textContent)")
    visit.press("Escape")
    visit.until("!document.getElementById('drawer').open && location.hash === '#phantom'")
    assert visit.value("document.activeElement.getAttribute('href')") == "#phantom/cdma/0.1"


def test_the_address_opens_a_cell_and_one_of_its_runs(visit, made):
    one = next(r for r in made[1] if r.key.startswith("supervised_phantom_r0.1_d0_s0"))
    visit.open(made[0], f"#phantom/supervised/0.1/{one.key}")
    visit.until(OPENED)
    assert visit.value("document.getElementById('of').value") == one.key
    shown = visit.value("[...document.querySelectorAll('#drawer-body .short tbody tr')].map(r => r.cells[1].innerText)")
    assert shown == [f"{100 * dice:.1f}" for dice in sorted(dice for [dice] in one.scores["dice"])]
    assert NASTY in visit.value("document.querySelector('.overlays img').alt")
    assert visit.value("document.querySelector('.overlays img').decode().then(() => true)")
    visit.open(made[0], "#phantom/no-such-method/0.1")
    assert not visit.value("document.getElementById('drawer').open")


def test_two_methods_are_compared_image_by_image(visit, made):
    visit.click("#phantom details:has(#phantom-paired) summary")
    visit.click('#phantom-paired a[href="#phantom/mean-teacher/0.1/vs/supervised"]')
    visit.until(OPENED)
    wanted = []
    for draw, seed in ((0, 0), (1, 0)):
        mine, theirs = (
            next(r for r in made[1] if r.key.startswith(f"{name}_phantom_r0.1_d{draw}_s{seed}")).scores["dice"]
            for name in ("mean_teacher", "supervised")
        )
        wanted.append([100 * (a - b) for [a], [b] in zip(mine, theirs, strict=True)])
    lines = "[...document.querySelectorAll('#drawer-body .short tbody tr')]"
    shown = visit.value(f"{lines}.map(r => Number(r.cells[1].dataset.value))")
    assert shown == pytest.approx(sorted(np.mean(wanted, axis=0)), abs=1e-6)
    visit.value("(s => { s.value = ''; s.dispatchEvent(new Event('change')); })(document.getElementById('vs'))")
    visit.until("location.hash === '#phantom/mean-teacher/0.1' && document.getElementById('vs').value === ''")


def chosen(browser, control: str, value: str) -> None:
    browser.value(f"""(value => {{
        const select = document.getElementById({control!r});
        select.value = value;
        select.dispatchEvent(new Event("input"));
    }})({value!r})""")


def test_methods_are_searched_with_or_and_pinned_ones_stay(visit):
    visit.click("#search")
    for letter in "mean, fix":
        visit.press(letter)
    assert visit.value(FIRST_COLUMN) == ["Mean Teacher", "FixMatch"]
    assert visit.value("document.getElementById('count').value").startswith("2 of ")
    visit.click("#clear")
    visit.click("#phantom-ratios tbody tr:nth-child(4) .pin")  # CDMA or FixMatch, by year
    (pinned, *_) = visit.value(FIRST_COLUMN)
    chosen(visit, "search", "mean")
    assert set(visit.value(FIRST_COLUMN)) == {"Mean Teacher", pinned}
    assert "pin=" in visit.value("location.hash") and "q=mean" in visit.value("location.hash")


def test_a_fraction_a_score_and_a_comparison_are_chosen_for_every_table(visit):
    blocks = """[...document.querySelectorAll("#phantom-comparison tbody tr")].filter(row => !row.hidden)
        .map(row => row.dataset.block)"""
    heads = """[...document.querySelectorAll("#phantom-comparison thead th")].filter(head => !head.hidden)
        .map(head => head.querySelector("span").textContent)"""
    assert visit.value(f"[...new Set({blocks})]") == ["10 %", "20 %", "100 %"]
    chosen(visit, "fraction", "20 %")
    assert visit.value(f"[...new Set({blocks})]") == ["20 %"]
    chosen(visit, "score", "HD95")
    assert "HD95 ↓" in visit.value(heads) and "Dice ↑" not in visit.value(heads)
    chosen(visit, "dataset", "glas")
    assert visit.value("document.getElementById('phantom').hidden") is True
    assert visit.value("document.getElementById('glas').open") is True
    visit.click("#clear")
    assert visit.value(f"[...new Set({blocks})]") == ["10 %", "20 %", "100 %"]


def test_the_address_keeps_the_choices_and_a_method_without_a_value_is_hidden_until_asked_for(visit, made):
    visit.open(made[0], "#phantom?fraction=10+%25&score=Dice")
    assert visit.value("document.getElementById('fraction').value") == "10 %"
    assert "ICT" not in visit.value(FIRST_COLUMN), "its only run diverged"
    visit.value("document.getElementById('empty').click()")
    assert "ICT" in visit.value(FIRST_COLUMN)
    visit.value("location.hash = '#phantom/cdma/0.1'")
    visit.until(OPENED)
    visit.press("Escape")
    visit.until("location.hash.startsWith('#phantom?') && location.hash.includes('fraction=10')")


def test_the_drawer_has_the_difference_its_p_the_paper_and_the_command(visit, made):
    visit.open(made[0], "#phantom/cdma/0.1")
    visit.until(OPENED)
    text = visit.value("document.getElementById('drawer-body').innerText")
    assert "Difference to Supervised: " in text and "adjusted over" in text
    assert "https://arxiv.org/abs/2305.18830" in text
    assert "bench run --method cdma" in text and "Save as CSV" in text


def test_it_is_readable_on_a_phone(visit, made):
    visit.size(360, 740, phone=True)
    visit.open(made[0], "#phantom/cdma/0.1")
    visit.until(OPENED)
    assert visit.value("document.documentElement.scrollWidth") <= 360
    assert visit.value("document.getElementById('drawer').getBoundingClientRect().width") == 360
    assert visit.value("document.getElementById('drawer').scrollWidth") <= 360
    assert visit.value("getComputedStyle(document.querySelector('#drawer text')).fontSize") == "12px"
    assert visit.value("document.querySelector('#drawer svg').getBoundingClientRect().width") <= 340
    sticky = "document.querySelector('#phantom-ratios tbody th').getBoundingClientRect().left"
    scrolled = "document.getElementById('drawer').scrollTop"
    visit.value(f"{scrolled} = 200")
    visit.size(360, 700, phone=True)  # as when the bar with the address goes away
    visit.value("new Promise(requestAnimationFrame)")
    assert visit.value(scrolled) == 200
    visit.press("Escape")
    before = visit.value(sticky)
    visit.value("document.querySelector('#phantom .scroll').scrollLeft = 120")
    assert visit.value("document.querySelector('#phantom .scroll').scrollLeft") > 50
    assert visit.value(sticky) == before


def test_light_and_dark_follow_the_system_and_the_button(visit, made):
    ground = "getComputedStyle(document.body).backgroundColor"
    assert visit.value(ground) == "rgb(255, 255, 255)"
    visit.click("#theme")
    assert visit.value(ground) == "rgb(20, 24, 29)"
    visit.value("localStorage.removeItem('theme')")
    visit.size(1400, 900, dark=True)
    visit.open(made[0])
    assert visit.value(ground) == "rgb(20, 24, 29)"


def test_a_print_has_the_tables_and_none_of_the_controls(visit):
    visit.ask("Emulation.setEmulatedMedia", media="print", features=[])
    shown = "getComputedStyle(document.querySelector('{}')).display"
    assert visit.value(shown.format(".toolbar")) == visit.value(shown.format(".pin")) == "none"
    assert visit.value(shown.format("#phantom-ratios")) == "table"
    visit.ask("Emulation.setEmulatedMedia", media="", features=[])
    visit.value("dispatchEvent(new Event('beforeprint'))")
    assert visit.value("document.querySelectorAll('details:not([open])').length") == 0
    visit.value("dispatchEvent(new Event('afterprint'))")
    assert visit.value("document.querySelectorAll('#phantom details[open]').length") == 1
