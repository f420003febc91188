"""Figures draw the numbers of the rows, name every method legibly, and are the same files on any day."""

import dataclasses
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import rows as made
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from msgspec import structs

import methods
from benchmark.analysis import stats
from benchmark.analysis.comparison import Comparison
from benchmark.report.figures import all_figures, cost, effects, panels, ranks, style
from benchmark.report.figures.captions import printed
from benchmark.report.tables import all_tables
from benchmark.report.tables.table import DAGGER

MANY = ("supervised", "mean_teacher", "entropy_min", "ict", "ua_mt", "cps", "fixmatch", "urpc", "cdma", "bcp")


@pytest.fixture(scope="module")
def few():
    return made.suite(ratios=(0.05, 0.2), draws=2, seeds=2, patients=12)


@pytest.fixture(scope="module")
def many():
    return made.suite(MANY, ratios=(0.05, 0.1), draws=2, patients=12)


def dice(rows, method, ratio) -> list[dict]:
    """An entry for each image of the runs of a method at a ratio."""
    return [
        dataclasses.asdict(row.run)
        | {"value": np.mean([v for v in of_image if v is not None]), "image": image, "patient": patient}
        for row in rows
        if row.run.method == method and row.run.ratio == ratio
        for of_image, image, patient in zip(row.scores["dice"], row.scores["name"], row.scores["patient"], strict=True)
    ]


def lines(figure, label) -> list:
    return [line for axes in figure.axes for line in axes.get_lines() if line.get_label() == label]


def texts(figure) -> list[tuple[str, float, Bbox]]:
    """What is written when the figure is drawn: words, size in points, and the box on the canvas."""
    written = []
    renderer = FigureCanvasAgg(figure).get_renderer()

    def noted(text, *args):
        if text.get_visible() and text.get_text().strip():
            written.append(
                (text.get_text().replace("\n", " "), text.get_fontsize(), Text.get_window_extent(text, renderer))
            )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", noted)
        figure.draw(renderer)
    return written


def overlapping(texts_) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other by more than a pixel."""
    boxes = [(words, box.padded(-1)) for words, _, box in texts_]
    return [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[i + 1 :] if x.overlaps(y)]


def cut_off(texts_, figure) -> list[str]:
    """Texts that reach beyond the canvas by more than a pixel."""
    page = figure.bbox.padded(1)
    return [words for words, _, box in texts_ if Bbox.union([box, page]).bounds != page.bounds]


def words(texts_) -> str:
    return "\n".join(words for words, _, _ in texts_)


# ----------------------------------------------------------------------------------------------------------------------
# What is drawn is what was measured


@pytest.mark.parametrize("suite", ["few", "many"])
def test_a_curve_goes_through_the_means_and_its_band_along_the_interval(suite, request):
    rows = request.getfixturevalue(suite)
    (line,) = lines(all_figures.FIGURES["score-ratio"](rows), "CDMA")
    ratios = sorted({row.run.ratio for row in rows} - {1.0})
    assert line.get_xdata() == pytest.approx(range(len(ratios)))
    cells = [dice(rows, "cdma", ratio) for ratio in ratios]
    assert line.get_ydata() == pytest.approx([100 * np.mean([entry["value"] for entry in cell]) for cell in cells])
    intervals = [
        stats.hierarchical_interval(*([entry[name] for entry in cell] for name in ("value", "patient", "draw", "seed")))
        for cell in cells
    ]
    band = next(
        c.get_paths()[0].vertices
        for c in line.axes.collections
        if isinstance(c, PolyCollection) and np.allclose(c.get_facecolor()[0][:3], _rgb(line))
    )
    for place, interval in enumerate(intervals):
        at = band[np.isclose(band[:, 0], place), 1]
        assert (at.min(), at.max()) == pytest.approx((100 * interval.low, 100 * interval.high))


def _rgb(line) -> tuple:
    return matplotlib.colors.to_rgb(line.get_color())


def test_supervised_with_all_labels_is_a_line_across(few):
    bound = 100 * np.mean([entry["value"] for entry in dice(few, "supervised", 1.0)])
    across = [
        line
        for axes in all_figures.FIGURES["score-ratio"](few).axes
        for line in axes.get_lines()
        if line.get_linestyle() == ":"
    ]
    assert [line.get_ydata() for line in across] == [pytest.approx([bound, bound])]
    without = [row for row in few if row.run.ratio < 1]
    assert not any(
        line.get_linestyle() == ":" for axes in all_figures.FIGURES["score-ratio"](without).axes for line in axes.lines
    )


def test_intervals_much_wider_than_usual_leave_the_axis_and_all_else_is_within():
    rows = made.suite(MANY[:8], ratios=(0.05, 0.1), draws=3)
    lost = [made.row("cps", ratio=0.05, draw=draw, better=better) for draw, better in enumerate((0, 0, -6))]
    rows = [row for row in rows if (row.run.method, row.run.ratio) != ("cps", 0.05)] + lost
    c = Comparison(rows)
    figure = all_figures.FIGURES["score-ratio"](c)
    assert "Intervals more than 3 times as wide as usual go on beyond the axis." in figure.get_label()
    low, high = figure.axes[0].get_ylim()
    for label in c.shown():
        mean, *ends = 100 * np.array(c.interval(label, 0.05))
        assert low < mean < high
        assert (low < min(ends)) == (label != "CPS")
    assert "beyond the axis" not in all_figures.FIGURES["score-ratio"](made.suite(MANY[:8], draws=3)).get_label()


def test_a_curve_goes_on_over_fractions_at_which_it_has_no_runs():
    rows = [row for row in made.suite(ratios=(0.05, 0.1, 0.2)) if row.run.method != "cdma" or row.run.ratio != 0.1]
    (line,) = lines(all_figures.FIGURES["score-ratio"](rows), "CDMA")
    assert line.get_xdata().tolist() == [0, 2], "the first and the last of three fractions"
    assert np.isfinite(line.get_ydata()).all()


@pytest.mark.parametrize("names", [MANY[:3], MANY])
def test_every_labelled_fraction_has_its_number(names):
    """10 % had a mark without a number, because it stood close to 20 % on a logarithmic axis."""
    ratios = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
    figure = all_figures.FIGURES["score-ratio"](made.suite(names, ratios, draws=1))
    last = [axes for axes in figure.axes if axes.axison and axes.xaxis.get_visible()]
    for axes in last:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.5", "1", "2", "5", "10", "20"]
    assert overlapping(texts(figure)) == []


def test_each_of_many_methods_stands_out_in_its_own_panel_before_the_others(many):
    figure = all_figures.FIGURES["score-ratio"](many)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == Comparison(many).shown()[1:]
    for axes in shown:
        bold = [line for line in axes.get_lines() if line.get_label() == axes.get_title(loc="left")]
        behind = [lines for lines in axes.collections if isinstance(lines, LineCollection)]
        pale = [len(lines.get_segments()) for lines in behind if to_hex(lines.get_color()[0]) == style.PALE.lower()]
        assert (len(bold), pale) == (1, [len(MANY) - 2])


def test_points_of_cost_are_costs_relative_to_supervised_and_the_best_are_joined(many):
    figure = all_figures.FIGURES["score-flops"](many)
    (axes,) = figure.axes
    points = np.concatenate([c.get_offsets() for c in axes.collections if len(c.get_offsets()) and c.get_paths()])
    flops = {row.run.method: row.budget.flops for row in many if row.run.ratio == 0.05}
    expected = {
        (round(flops[m] / flops["supervised"], 6), round(100 * np.mean([e["value"] for e in dice(many, m, 0.05)]), 6))
        for m in MANY
    }
    assert {(round(float(x), 6), round(float(y), 6)) for x, y in points} >= expected
    front = {tuple(point.round(6)) for point in next(iter(axes.get_lines())).get_xydata()}
    best = {p for p in expected if not any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in expected)}
    assert front == best


def test_the_pareto_front_leaves_out_whatever_something_as_cheap_beats():
    assert cost.pareto(np.array([2, 1, 1, 3, 4.0]), np.array([5, 3, 2, 5, np.nan])) == [1, 0]


def test_no_figure_is_made_from_the_seconds_of_a_run(few):
    """Seconds depend on what else the machine does; speed is measured by `bench speed`."""
    slower = [structs.replace(r, measured=structs.replace(r.measured, seconds=9 * r.measured.seconds)) for r in few]
    assert not any("second" in name for name in all_figures.FIGURES)
    for name in ("score-flops", "score-ratio"):
        assert words(texts(all_figures.FIGURES[name](slower))) == words(texts(all_figures.FIGURES[name](few))), name


def test_differences_are_those_of_the_same_images_draws_and_seeds(few):
    for name, column in (("differences", 1), ("differences-images", 0)):
        figure = all_figures.FIGURES[name](few)
        ratio = 0.2 if column else 0.05
        mine, base = dice(few, "cdma", ratio), dice(few, "supervised", ratio)
        (line,) = [line for line in figure.axes[column].get_lines() if line.get_label() == "CDMA"]
        difference = np.mean([a["value"] - b["value"] for a, b in zip(mine, base, strict=True)])
        assert line.get_xdata() == pytest.approx([100 * difference]), name


def test_runs_without_a_partner_are_no_part_of_a_difference(few):
    lonely = made.row("cdma", ratio=0.05, draw=7, better=5.0)
    with_it, without = (Comparison(rows).difference("CDMA", "Supervised", 0.05) for rows in ([*few, lonely], few))
    assert with_it == without
    assert Comparison([*few, lonely]).interval("CDMA", 0.05).mean > Comparison(few).interval("CDMA", 0.05).mean


def test_colour_shows_what_is_significant_and_only_one_draw_is_hollow():
    rows = made.suite(("supervised",), (0.1,), draws=4, bounds=False)
    rows += made.suite(("cdma",), (0.1,), draws=4, bounds=False, better=2.0)
    rows += made.suite(("cps",), (0.1,), draws=4, bounds=False, better=0.0)
    figure = all_figures.FIGURES["differences"](rows)
    fills = {label: lines(figure, label)[0].get_markerfacecolor() for label in ("CDMA", "CPS")}
    assert fills == {"CDMA": style.ACCENT, "CPS": style.GREY}
    once = all_figures.FIGURES["differences"]([row for row in rows if row.run.draw == 0])
    assert {lines(once, label)[0].get_markerfacecolor() for label in fills} == {"white"}


def test_a_difference_far_beyond_the_others_leaves_the_scale_with_its_number():
    rows = made.suite(("supervised", "cps", "cct", "hce", "urpc"), (0.1,), draws=3, bounds=False)
    usual = all_figures.FIGURES["differences"](rows).axes[0].get_xlim()
    rows += [made.row("cdma", ratio=0.1, draw=draw, better=-8.0) for draw in range(3)]
    figure = all_figures.FIGURES["differences"](rows)
    assert figure.axes[0].get_xlim()[1] < 3 * usual[1]
    assert "Arrows" in figure.get_label()
    assert any(text.get_text().startswith("−") for text in figure.axes[0].texts)


def test_one_draw_is_never_filled():
    rows = made.suite(("supervised",), (0.1,), draws=1, bounds=False, patients=12)
    rows += made.suite(("cdma",), (0.1,), draws=1, bounds=False, better=2.0, patients=12)
    (mark,) = lines(all_figures.FIGURES["differences"](rows), "CDMA")
    assert mark.get_markerfacecolor() == "white"


def test_where_all_runs_are_of_one_draw_the_differences_say_so():
    rows = made.suite(ratios=(0.05,), draws=3) + made.suite(ratios=(0.1,), draws=1, seeds=2)
    figure = all_figures.FIGURES["differences"](rows)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["5 % labels", "10 % labels, 1 draw"]
    assert "1 draw, hollow" in figure.get_label()
    assert "1 draw" not in all_figures.FIGURES["differences"](made.suite(draws=2)).get_label()


def test_the_cloud_of_a_method_has_a_point_for_every_image_within_the_frame(few):
    figure = all_figures.FIGURES["differences-images"](few)
    shown = sum(len(c.get_offsets()) for c in figure.axes[0].collections if c.get_rasterized())
    caption = figure.get_label()
    beyond = int(caption.split("interval. ")[1].split()[0]) if "beyond" in caption else 0
    assert shown + beyond == 2 * len(few[0].scores["name"])


# ----------------------------------------------------------------------------------------------------------------------
# Ranks


def test_cliques_are_the_longest_stretches_of_which_no_two_are_apart():
    apart = np.zeros((5, 5), dtype=bool)
    assert ranks.cliques(apart) == [(0, 4)]
    apart[0, 2] = apart[2, 0] = apart[1, 4] = apart[4, 1] = True
    assert ranks.cliques(apart) == [(0, 1), (1, 3), (2, 4)]
    assert ranks.cliques(~np.eye(5, dtype=bool)) == []


def test_ranks_are_within_patients_and_runs_and_their_bars_are_by_tests_in_which_draws_vary(many):
    label = all_figures.FIGURES["ranks"](many).get_label()
    assert "within each of 12 patients and each draw and seed, from 2 runs of each method" in label
    assert "for new patients only" not in label
    once = made.suite(MANY, ratios=(0.1,), draws=1, patients=12)
    assert (
        "With one draw, intervals and bars are for new patients only." in all_figures.FIGURES["ranks"](once).get_label()
    )


def test_methods_far_apart_are_not_joined_and_equal_ones_are():
    equal = made.suite(("supervised", "cps", "cdma"), (0.1,), draws=4, better=0.0, patients=12)
    better = [made.row("cct", ratio=0.1, draw=draw, better=3.0, patients=12) for draw in range(4)]
    bars = [line for line in all_figures.FIGURES["ranks"](equal + better).axes[0].lines if line.get_linewidth() == 2.2]
    assert len(bars) == 1
    assert bars[0].get_xdata()[0] > 1.5, "the best is outside"


def ranks_written(rows) -> list[list[str]]:
    return [t.get_text().split() for t in all_figures.FIGURES["ranks"](rows).axes[0].texts]


def test_the_average_ranks_beside_the_names_are_those_of_patients_in_runs(many):
    blocks = [(p, draw) for p in sorted(set(many[0].scores["patient"])) for draw in (0, 1)]
    means = [
        [np.mean([e["value"] for e in dice(many, m, 0.05) if (e["patient"], e["draw"]) == of]) for m in MANY]
        for of in blocks
    ]
    expected, _ = stats.average_ranks(np.array(means))
    written = ranks_written(many)
    for method, rank in zip(MANY, expected, strict=True):
        title = methods.get(method).title.split()
        beside = [words[: len(title) + 1] if words[0] in title else [words[0], *words[3:]] for words in written]
        assert [*title, f"{rank:.1f}"] in beside or [f"{rank:.1f}", *title] in beside


def test_a_method_with_fewer_draws_does_not_take_the_draws_of_the_others_away(many):
    """It is left out by name; before, all methods were ranked in its one draw, and their places changed."""
    fewer = [*many, made.row("cct", ratio=0.05, patients=12)]
    assert ranks_written(fewer) == ranks_written(many)
    label = all_figures.FIGURES["ranks"](fewer).get_label()
    assert f"Left out, because they have fewer draws: {methods.get('cct').title}." in label


def test_nothing_is_ranked_in_figures_where_the_comparison_cannot_tell(many):
    without = [row for row in many if row.run.ratio < 1]
    assert all_figures.FIGURES["ranks"](without) is None
    assert all_figures.FIGURES["gap"](without) is None
    assert "Pareto" not in all_figures.FIGURES["score-flops"](without).get_label()
    forest = all_figures.FIGURES["differences"](without)
    assert [axes.get_title(loc="left") for axes in forest.axes] == [f"{n} % labels\nno headroom" for n in (5, 10)]
    in_order = [methods.get(name).title for name in MANY[1:]]
    assert {label.get_text() for label in forest.axes[0].get_yticklabels()} == set(in_order)
    assert [text.get_text() for text in forest.axes[0].get_yticklabels()][::-1] == Comparison(many).shown()[1:]
    for name in ("score-flops", "differences-images"):
        assert "% labels, no headroom" in words(texts(all_figures.FIGURES[name](without))), name
        assert "no headroom" not in words(texts(all_figures.FIGURES[name](many))), name
    few_patients = made.suite(MANY[:4], ratios=(0.05,), draws=2, patients=8)
    assert all_figures.FIGURES["ranks"](few_patients) is None


def test_the_gap_of_a_method_is_that_of_the_table(many):
    figure = all_figures.FIGURES["gap"](many)
    table = all_tables.table_of("headroom", many)
    for axes in figure.axes:
        ratio = axes.get_title(loc="left").partition(" labels")[0]
        written = {
            line.cells[0].text: line.cells[3].mean for line in table.lines if line.block == ratio and line.cells[3].mean
        }
        drawn = {line.get_label(): line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "o"}
        assert len(drawn) == len(MANY) - 1
        assert drawn == pytest.approx({label: written[label] for label in drawn})


def test_methods_that_share_no_draw_have_no_ranks():
    rows = [made.row(method, draw=draw) for draw, method in enumerate(("supervised", "cdma", "mean_teacher"))]
    assert all_figures.FIGURES["ranks"](rows) is None


def test_two_methods_or_one_patient_have_no_ranks():
    assert all_figures.FIGURES["ranks"](made.suite(("supervised", "cdma"))) is None
    assert all_figures.FIGURES["ranks"](made.suite(patients=1)) is None


# ----------------------------------------------------------------------------------------------------------------------
# Ablations and settings


@pytest.fixture(scope="module")
def ablated(few):
    more = {"ratios": (0.05,), "draws": 2, "seeds": 2, "bounds": False}
    rows = [
        row for v in ("no_um", "temperature_1", "temperature_20") for row in made.suite(("cdma",), variant=v, **more)
    ]
    rows += made.suite(("cdma",), settings={"temperature": 0.0}, **more)
    rows += made.suite(("cdma",), settings={"weight_cdkd": 1.0, "weight_um": 1.0}, **more)
    return [*few, *rows]


def test_every_variant_and_setting_has_its_difference_to_the_full_method(ablated):
    found = effects.effects(Comparison(ablated), 0.05)
    assert {effect.variant for effect in found} == {
        "no_um",
        "temperature_1",
        "temperature_20",
        "temperature=0",
        "weight_cdkd=1, weight_um=1",
    }
    pick = [row for row in ablated if row.run.method == "cdma" and row.run.ratio == 0.05]
    full = [np.mean(row.scores["dice"]) for row in pick if not row.run.variant and not row.run.settings]
    without = [np.mean(row.scores["dice"]) for row in pick if row.run.variant == "no_um"]
    (effect,) = [effect for effect in found if effect.variant == "no_um"]
    assert effect.difference.mean == pytest.approx(np.mean(without) - np.mean(full))
    (line,) = lines(all_figures.FIGURES["ablation"](ablated), "no_um")
    assert line.get_xdata() == pytest.approx([100 * effect.difference.mean])


def test_a_variant_is_compared_with_the_method_as_it_was_trained_itself(few):
    longer = made.suite(("cdma",), (0.05,), draws=2, seeds=2, bounds=False, variant="no_um", lr=0.01)
    assert effects.effects(Comparison([*few, *longer]), 0.05) == []


def test_variants_stay_out_of_the_figures_of_methods(ablated, few):
    assert Comparison(ablated).shown() == Comparison(few).shown()
    only = [row for row in ablated if row.run.variant or row.run.method == "supervised"]
    assert "CDMA (no_um)" in Comparison(only).shown(), "a method that was run in no other way is shown as it was"


def test_a_setting_with_three_values_is_swept_from_variants_and_settings_alike(ablated):
    c = Comparison(ablated)
    (sweep,) = effects.sweeps(c, 0.05)
    assert sweep.setting == "temperature"
    assert list(sweep.labels) == [0.0, 1.0, 10.0, 20.0]
    assert sweep.published == 10.0
    figure = all_figures.FIGURES["sensitivity"](ablated)
    (line,) = lines(figure, "temperature")
    means = [100 * c.interval(label, 0.05).mean for value, label in sweep.labels.items() if value != 10.0]
    assert line.get_ydata() == pytest.approx(means)
    assert line.get_xdata() == pytest.approx([0.1, 1.0, 20.0]), "0 stands a step (1 to 10) below 1"


# ----------------------------------------------------------------------------------------------------------------------
# Training


def test_training_curves_are_means_over_runs(few):
    figure = all_figures.FIGURES["losses"](few)
    runs = [row for row in few if row.run.method == "cdma" and row.run.ratio == 0.05]
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left") == "CDMA"]
    for term in ("sup", "consistency"):
        (line,) = [line for line in axes.get_lines() if line.get_label() == term]
        mean = np.mean([row.history[term] for row in runs], axis=0)
        assert line.get_ydata() == pytest.approx(np.where(mean > 0, mean, np.nan), nan_ok=True)
    (line,) = lines(all_figures.FIGURES["validation"](few), "CDMA")
    assert line.get_ydata() == pytest.approx(100 * np.mean([row.validation["dice"] for row in runs], axis=0))
    assert list(line.get_xdata()) == runs[0].validation["step"]


# ----------------------------------------------------------------------------------------------------------------------
# All of them


@pytest.mark.parametrize("name", all_figures.FIGURES)
def test_too_few_records_have_no_figure(name):
    assert all_figures.FIGURES[name]([]) is None
    assert all_figures.FIGURES[name]([made.row("cdma", status="diverged")]) is None


def test_one_ratio_has_no_curve_and_one_method_no_cost():
    assert all_figures.FIGURES["score-ratio"](made.suite(ratios=(0.1,))) is None
    assert all_figures.FIGURES["score-flops"](made.suite(("supervised",))) is None
    assert all_figures.FIGURES["differences"](made.suite(("cdma",), bounds=False)) is None
    assert all_figures.FIGURES["ablation"](made.suite()) is None
    assert all_figures.FIGURES["sensitivity"](made.suite()) is None


UNLIKE = {  # rows that are unlike each other in what figures must survive
    "all methods": lambda: made.suite(methods.names(), ratios=(0.05, 0.1), draws=2, images=12, patients=6),
    "one run each": lambda: made.suite(draws=1),
    "one patient": lambda: made.suite(ratios=(0.05, 0.1), draws=1, patients=1),
    "several classes": lambda: made.suite(MANY[:3], classes=("background", "gland", "tumour"), empty=(2, 3)),
    "another budget": lambda: [*made.suite(), *made.suite(("cdma",), (0.1,), steps=800, bounds=False)],
}
OF_METHODS = ("score-ratio", "score-flops", "ranks", "differences", "differences-images", "losses", "validation")


@pytest.mark.parametrize("which", UNLIKE)
def test_every_method_is_named_and_every_text_is_legible_and_whole(which):
    c = Comparison(UNLIKE[which]())
    for name, draw in all_figures.FIGURES.items():
        figure = draw(c)
        if figure is not None:
            written = texts(figure)
            assert overlapping(written) == [], name
            assert cut_off(written, figure) == [], name
            assert min(size for _, size, _ in written) >= style.SMALL, name
            assert figure.get_label().endswith("."), "a caption is a sentence"
            missing = [label for label in c.shown(uneven=False) if label not in words(written)]
            assert name not in OF_METHODS or missing == [], name


def test_another_budget_is_marked_where_it_is_shown_and_out_of_what_ranks_and_of_curves_over_steps():
    c = Comparison(UNLIKE["another budget"]())
    uneven = printed(c, "CDMA (steps 800)")
    assert uneven == f"CDMA (steps 800) {DAGGER}"
    for name in ("score-ratio", "score-flops"):
        assert uneven in words(texts(all_figures.FIGURES[name](c))), name
    for name in ("ranks", "differences", "differences-images", "ablation", "losses", "validation"):
        figure = all_figures.FIGURES[name](c)
        assert figure is None or DAGGER not in words(texts(figure)), name


def test_one_run_of_one_patient_has_points_and_no_bars():
    c = Comparison(UNLIKE["one patient"]())
    assert np.isnan(c.interval("CDMA", 0.1).low)
    (line,) = lines(all_figures.FIGURES["score-ratio"](c), "CDMA")
    assert np.isfinite(line.get_ydata()).all()


def test_axes_say_that_a_score_is_the_mean_over_classes():
    c = Comparison(UNLIKE["several classes"]())
    for name in ("score-ratio", "score-flops", "differences", "differences-images", "validation"):
        assert "mean over classes" in words(texts(all_figures.FIGURES[name](c))), name
    assert "(Dice points, mean over classes)" in words(texts(all_figures.FIGURES["differences"](c)))


def test_several_classes_are_averaged_in_an_image():
    c = Comparison(UNLIKE["several classes"]())
    row = c.records[c.keys("Supervised", 0.1)[0]]
    values = c.values("Supervised", 0.1, c.options.metric)
    assert values[0, 0] == pytest.approx(np.mean(row.scores["dice"][0]))
    assert values[0, 2] == 0, "a false alarm"
    assert np.isnan(values[0, 3]), "no object, and none predicted"


def test_runs_scored_on_other_images_are_refused():
    rows = [made.row("supervised"), made.row("cdma", images=12)]
    with pytest.raises(ValueError, match="different test images"):
        Comparison(rows)


def test_files_have_the_same_bytes_on_any_day_and_fonts_in_them(few, tmp_path, monkeypatch):
    first = [path.read_bytes() for path in style.save(all_figures.FIGURES["score-ratio"](few), tmp_path / "a")]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    monkeypatch.setitem(rcParams, "font.size", 30.0)  # a user's own settings
    second = [path.read_bytes() for path in style.save(all_figures.FIGURES["score-ratio"](few), tmp_path / "b")]
    assert first == second
    assert b"/FontFile2" in first[1]
    assert b"/Type3" not in first[1]
    assert b"Date" not in first[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]


def test_places_are_apart_in_order_and_as_near_as_can_be():
    assert style.apart([1.0, 1.2, 5.0], 1.0) == pytest.approx([0.6, 1.6, 5.0])
    assert style.apart([5.0, 1.0], 1.0) == pytest.approx([5.0, 1.0])
    assert style.apart([1.0, 1.0, 1.0], 1.0, low=1.0) == pytest.approx([1.0, 2.0, 3.0])
    assert style.apart([9.0, 9.0], 1.0, high=9.0) == pytest.approx([8.0, 9.0])


def test_names_of_points_in_one_place_do_not_cover_each_other():
    figure = style.page(3.4, 2.6)
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    names = style.name_points(axes, np.full((9, 2), 0.5), [f"Method {k}" for k in range(9)], size=7)
    assert all(isinstance(name, Annotation) for name in names)
    assert overlapping(texts(figure)) == []


# ----------------------------------------------------------------------------------------------------------------------
# Panels


def pictures(count: int, side: int = 32) -> list[np.ndarray]:
    return [np.full((side, side, 3), 40 * k, np.uint8) for k in range(count)]


def test_panels_are_a_hard_a_typical_and_an_easy_image_for_supervised():
    rows = made.suite(ratios=(0.1,), draws=2, images=21)
    base = next(row for row in rows if row.run.method == "supervised" and row.run.draw == 0)
    ranked = np.argsort([values[0] for values in base.scores["dice"]])
    wanted = [base.scores["name"][i] for i in ranked[[2, 10, 18]]]
    names = [f"image{i:03}" for i in reversed(range(21))]
    store = SimpleNamespace(
        records=[SimpleNamespace(name=name) for name in names],
        image=lambda place: np.full((4, 4, 3), place, np.uint8),
        label=lambda place, task: np.full((4, 4), place % 2, np.uint8),
    )
    asked = []

    def predict(row, images):
        asked.append(row.key)
        return [image[..., 0] % 3 for image in images]

    found = panels.panels(rows, store, predict)
    assert [names[panel.image[0, 0, 0]] for panel in found] == wanted
    assert [panel.name for panel in found] == ["hard (10\u00a0%)", "typical (50\u00a0%)", "easy (90\u00a0%)"]
    assert len(asked) == len(set(asked)) == 3, "each network once, for all images"
    for panel, name in zip(found, wanted, strict=True):
        assert [label for label, _, _ in panel.predictions] == ["Supervised", "Mean Teacher", "CDMA"]
        place = names.index(name)
        assert panel.predictions[0][1] == base.scores["dice"][20 - place][0]
        assert (panel.predictions[0][2] == place % 3).all()
        assert (panel.truth == place % 2).all()
    assert panels.panels([], store, predict) == []
    few = panels.panels(made.suite(ratios=(0.1,), images=2), store, predict)
    assert [panel.name for panel in few] == ["hard (10\u00a0%)", "easy (90\u00a0%)"], "no image twice"


@pytest.mark.parametrize("classes", [("background", "gland"), ("background", "gland", "tumour")])
def test_truth_and_every_method_stand_side_by_side(classes):
    truth = np.zeros((32, 48), np.uint8)
    truth[8:20, 8:30] = len(classes) - 1
    labels = [methods.get(name).title for name in methods.names()]
    image = np.full((32, 48, 3), 200, np.uint8)
    panel = panels.Panel("hard (10 %)", image, truth, [(label, 0.5, np.roll(truth, 3)) for label in labels])
    figure = panels.qualitative([panel], classes)
    titles = [axes.get_title(loc="left").replace("-\n", "-").replace("\n", " ") for axes in figure.axes]
    assert titles[: 2 + len(labels)] == ["hard (10 %)", "truth", *(f"{label} 50.0" for label in labels)]
    assert overlapping(texts(figure)) == []
    assert cut_off(texts(figure), figure) == []
    assert panels.qualitative([], classes) is None


def test_rows_that_are_made_up_are_rows_of_runs():
    row = made.row("cdma", variant="no_um", settings={"temperature": 5.0}, ratio=0.2)
    assert row.run.key == row.key
