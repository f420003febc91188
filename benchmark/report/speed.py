"""Speed records as tables and a figure: how fast each method trains and predicts, beside supervised."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import methods
from benchmark.analysis import timing
from benchmark.files import write_text
from benchmark.names import choose
from benchmark.report.figures.style import BLACK, GREY, SERIES, TEXT, finished, in_style, page, save
from benchmark.report.page.picture import Picture, picture
from benchmark.report.tables import ratios
from benchmark.report.tables.formats import FORMATS, rendered
from benchmark.report.tables.table import Cell, Column, Line, Table, digest, markdown, to_markdown

SpeedRecord = dict[str, Any]  # of `benchmark.analysis.timing`

METHOD = Column("Method", "text")
PREFIX = "speed-"  # of the names of these tables
PAPER = 2 * 3  # runs of a method in CDMA's main table: two ratios, three seeds
MS, SHARE, MEGA, GIGA = 1e3, 100, 1e-6, 1e-9

# what records of one table have in common
FIXED = (
    "dataset", "task", "encoder", "decoder", "norm", "width", "dropout", "crop", "tile", "precision", "optimiser",
)  # fmt: skip
BARE = ("dataset", "encoder", "decoder", "precision")  # what a title always says, without its name


# ----------------------------------------------------------------------------------------------------------------------
# A line for each record


def speed_frame(records: Sequence[SpeedRecord]) -> pd.DataFrame:
    """One line for each record, supervised first, then by year: every number that the tables print, in plain units.

    Columns: `key`, `device`, `label`, `method`, `year`, `batch` (labelled images a step), `unstable` (the spread of a
    mode is too wide); for "train" and "predict" `<mode>_s`, `<mode>_p95_s`, `<mode>_images` and `<mode>_flops` of a
    call, `<mode>_images_per_s`, `<mode>_relative` (to supervised), `<mode>_counted`, `<mode>_utilisation` and
    `<mode>_memory` (bytes); `train_spread`; `data_share` of a step that takes its batch from the store;
    `captured_s`; `bandwidth_share` (of a large copy); `compiled_relative` and `compile_s`; `segment_pixels_per_s`;
    `parameters`; `import_s`, `build_s`, `first_step_s`; `joules` of a step. What was not measured is nan.
    """
    frame = pd.DataFrame([_line(record) for record in records])
    if frame.empty:
        return frame
    frame = frame.assign(other=frame.method != "supervised").sort_values(["other", "year", "label", "batch", "key"])
    return frame.drop(columns="other").reset_index(drop=True)


def _line(record: SpeedRecord) -> dict[str, float | str | bool]:
    run, modes = record["run"], record["modes"]
    timed = {mode: timing.timing(found["seconds"]) for mode, found in modes.items()}
    brackets = ", ".join([run["variant"]] * bool(run["variant"]) + [f"{k}={v}" for k, v in run["settings"]])
    line: dict[str, float | str | bool] = {
        "key": record["key"],
        "device": record["machine"]["device"],
        "method": run["method"],
        "label": f"{record['title']} ({brackets})" if brackets else record["title"],
        "year": methods.year(run["method"]) or np.nan,
        "batch": run["labelled"],
        "unstable": any(found.unstable for found in timed.values()),
        "train_spread": timed["train"].spread,
        "compiled_relative": np.nan,
        "compile_s": record["startup"].get("compile_s", np.nan),
        "segment_pixels_per_s": modes["segment"]["pixels"] / timed["segment"].median,
        "parameters": record["cost"]["parameters"],
        "joules": np.nan if record["energy"] is None else record["energy"],
        **{name: record["startup"][name] for name in ("import_s", "build_s", "first_step_s")},
    }
    line["captured_s"] = timed["train_captured"].median if "train_captured" in timed else np.nan
    line["bandwidth_share"] = timing.bandwidth_share(record)
    taken = timed.get("train_captured", timed["train"]).median
    line["data_share"] = 1 - taken / timed["train_data"].median
    if "train_compiled" in timed:
        line["compiled_relative"] = timed["train_compiled"].median / timed["train"].median
    for mode in ("train", "predict"):
        line |= {
            f"{mode}_s": timed[mode].median,
            f"{mode}_p95_s": timed[mode].p95,
            f"{mode}_images": modes[mode]["images"],
            f"{mode}_images_per_s": timing.images_per_s(record, mode),
            f"{mode}_relative": timing.relative(record, mode),
            f"{mode}_flops": record["cost"][mode]["flops"],
            f"{mode}_counted": record["cost"][mode]["counted"],
            f"{mode}_utilisation": timing.utilisation(record, mode),
            f"{mode}_memory": record["memory"][mode],
        }
    return line


def places(records: Sequence[SpeedRecord]) -> dict[str, list[SpeedRecord]]:
    """Records of methods by device, threads, data and network, under different names."""
    groups: dict[tuple, list[SpeedRecord]] = defaultdict(list)
    for record in (record for record in records if "ratio" not in record):
        machine = record["machine"]
        threads = machine["threads"] if machine["kind"] == "cpu" else None
        groups[machine["device"], threads, *(record["run"][name] for name in FIXED)].append(record)
    names: dict[tuple, str] = {}
    for place in groups:
        device, threads, *values = place
        fixed = dict(zip(FIXED, values, strict=True))
        others = {
            name for other in groups for name, value in zip(FIXED, other[2:], strict=True) if value != fixed[name]
        }
        words = [fixed[name] for name in BARE] + [f"crop {fixed['crop']}"]
        words += [f"{name} {fixed[name]}" for name in FIXED if name in others and name not in (*BARE, "crop")]
        names[place] = ", ".join([device, *([f"{threads} thread{'s' * (threads > 1)}"] if threads else []), *words])
    return {names[place]: groups[place] for place in sorted(groups, key=names.__getitem__)}


# ----------------------------------------------------------------------------------------------------------------------
# Tables


def tables(records: Sequence[SpeedRecord], place: str) -> dict[str, Table]:
    """The tables of records of one place, by name; of several runs at once only if it was measured."""
    found = {name: write(records, place) for name, write in TABLES.items()}
    return {name: table for name, table in found.items() if table}


def training(records: Sequence[SpeedRecord], place: str) -> Table:
    """A line for each method and batch: seconds, images, operations, memory and energy of a training step."""
    frame, ceiling = speed_frame(records), "of ceiling %"
    columns = {
        Column("ms", group="Step"): (frame.train_s, MS),
        Column("p95 ms", group="Step"): (frame.train_p95_s, MS),
        Column("labelled/s", group="Step"): (frame.train_images_per_s, 1),
        Column("× supervised", group="Step"): (frame.train_relative, 1),
        Column("data %", group="Step"): (frame.data_share, SHARE),
        Column("GFLOPs", group="Operations"): (frame.train_flops, GIGA),
        Column("× supervised", group="Operations"): (_beside(frame, "train_flops"), 1),
        Column("counted %", group="Operations"): (frame.train_counted, SHARE),
        Column(ceiling, group="Operations"): (frame.train_utilisation, SHARE),
        Column("of memory ceiling %", group="Operations"): (frame.bandwidth_share, SHARE),
        Column("ms", group="Captured"): (frame.captured_s, MS),
        Column("× faster", group="Captured"): (frame.train_s / frame.captured_s, 1),
        Column("GB"): (frame.train_memory, GIGA),
        Column("J"): (frame.joules, 1),
        Column("build", group="Seconds before"): (frame.build_s, 1),
        Column("first step", group="Seconds before"): (frame.first_step_s, 1),
        Column("compile", group="Seconds before"): (frame.compile_s, 1),
        Column("× eager", group="Compiled"): (frame.compiled_relative, 1),
        Column("M param."): (frame.parameters, MEGA),
    }
    remarks = [
        "A step goes from a batch that is on the device to moved weights; supervised took turns with each method.",
        "Data is what cutting the batch from the store adds to a step, of the two together.",
        "Operations are those of convolutions, matrix products and attention; the ceiling is "
        f"{_ceilings(records)}, a product of large matrices that took turns with the method.",
        f"A process needs {frame.import_s.median():.1f} s to import what training needs.",
    ]
    return _table("training", "Training speed", place, frame, columns, records, remarks)


def prediction(records: Sequence[SpeedRecord], place: str) -> Table:
    """A line for each method and batch: seconds, images, operations and memory of a prediction."""
    frame = speed_frame(records)
    columns = {
        Column("ms", group="Crops"): (frame.predict_s, MS),
        Column("p95 ms", group="Crops"): (frame.predict_p95_s, MS),
        Column("images/s", group="Crops"): (frame.predict_images_per_s, 1),
        Column("× supervised", group="Crops"): (frame.predict_relative, 1),
        Column("GFLOPs/image", group="Operations"): (frame.predict_flops / frame.predict_images, GIGA),
        Column("counted %", group="Operations"): (frame.predict_counted, SHARE),
        Column("of ceiling %", group="Operations"): (frame.predict_utilisation, SHARE),
        Column("GB"): (frame.predict_memory, GIGA),
        Column("megapixels/s", group="Whole images"): (frame.segment_pixels_per_s, MEGA),
    }
    remarks = [
        "Crops are a batch that is on the device, and its logits stay there; whole images come from the store, overlap "
        "in tiles, and their classes end in main memory.",
    ]
    return _table("prediction", "Prediction speed", place, frame, columns, records, remarks)


def packing(records: Sequence[SpeedRecord], place: str) -> Table | None:
    """A line for each method and batch: trainings an hour with so many of them at once; None if never measured."""
    records = [record for record in records if record["together"]]
    if not records:
        return None
    frame, by_key = speed_frame(records), {record["key"]: record for record in records}
    counts = sorted({packed["runs"] for record in records for packed in record["together"]})
    found = {
        count: [
            next((timing.runs_per_hour(by_key[key], p) for p in by_key[key]["together"] if p["runs"] == count), np.nan)
            for key in frame.key
        ]
        for count in counts
    }
    columns = {Column(f"{count}", group="Runs an hour, at once"): (pd.Series(found[count]), 1) for count in counts}
    remarks = [
        "Training only: start-up, validation and scoring are not in it. On a CPU, runs at once share the threads.",
        f"Steps of a run: {_range({record['run']['steps'] for record in records})}.",
    ]
    return _table("packing", "Several runs on one device", place, frame, columns, records, remarks)


def whole_runs(records: Sequence[SpeedRecord], place: str) -> Table:
    """A line for each method and batch: what a whole run would take; below, what a table of all of them would."""
    frame, by_key = speed_frame(records), {record["key"]: record for record in records}
    seconds = pd.DataFrame([timing.run_seconds(by_key[key]) for key in frame.key])
    columns = {Column(name, group="Seconds"): (seconds[name], 1) for name in seconds}
    columns[Column("minutes a run")] = seconds.sum(axis=1), 1 / 60
    remarks = [
        f"Extrapolated from single steps and images to {_range({record['run']['steps'] for record in records})} steps."
    ]
    for batch, block in frame.groupby("batch"):
        each = seconds.loc[block.index].sum(axis=1)
        gains = [timing.gain_of_packing(by_key[key]) for key in block.key]
        hours, packed = (PAPER * total / 3600 for total in (each.sum(), (each / gains).sum()))
        remarks.append(
            f"Two ratios with three seeds of all {len(block)} methods here, {batch} labelled images a step: "
            f"{hours:.2f} h one after the other"
            + (f", {packed:.2f} h with as many at once as took most steps a second." if max(gains) > 1 else ".")
        )
    return _table("runs", "Whole runs", place, frame, columns, records, remarks)


TABLES: dict[str, Callable[[Sequence[SpeedRecord], str], Table | None]] = {
    "training": training, "prediction": prediction, "packing": packing, "runs": whole_runs,
}  # fmt: skip


def _table(
    name: str, title: str, place: str, frame: pd.DataFrame, columns: dict[Column, tuple[pd.Series, float]],
    records: Sequence[SpeedRecord], remarks: Sequence[str],
) -> Table:  # fmt: skip
    """A block for each batch. Columns in which nothing was measured are left out."""
    shown = {column: scale * values for column, (values, scale) in columns.items() if values.notna().any()}
    lines = [
        Line(
            (
                Cell(one.label, dagger=one.unstable, runs=(one.key,)),
                *(_cell(values[place_], one.key) for values in shown.values()),
            ),
            f"{batch} + {_unlabelled(records, one.key)} images",
        )
        for batch, block in frame.groupby("batch")
        for place_, one in zip(block.index, block.itertuples(), strict=True)
    ]
    notes = [*remarks, *_trust(records)]
    source = {
        "table": PREFIX + name,
        "place": place,
        "records": len(records),
        "keys": digest(record["key"] for record in records),
    }
    return Table(
        PREFIX + name, f"{title}: {place}", (METHOD, *shown), tuple(lines), tuple(notes), source, "Batch", place
    )


def _beside(frame: pd.DataFrame, column: str) -> pd.Series:
    """The column over supervised's value at the same batch; nan where supervised was not measured."""
    own = frame[frame.method == "supervised"].drop_duplicates("batch").set_index("batch")[column]
    return frame[column] / frame.batch.map(own)


def _cell(value: float, key: str) -> Cell:
    """Three digits that mean something."""
    if np.isnan(value):
        return Cell(runs=(key,))
    digits = 0 if value == 0 else max(0, 2 - int(np.floor(np.log10(abs(value)))))
    return Cell(f"{value:.{digits}f}".replace("-", "−"), float(value), runs=(key,))


def _unlabelled(records: Sequence[SpeedRecord], key: str) -> int:
    return next(record["run"]["unlabelled"] for record in records if record["key"] == key)


def _ceilings(records: Sequence[SpeedRecord]) -> str:
    rates = [record["ceiling"]["matmul"] / 1e12 for record in records]
    rounded = " with factors rounded to TF32" if any(record["ceiling"]["tf32"] for record in records) else ""
    low, high = (f"{rate:.3g}" for rate in (min(rates), max(rates)))
    return f"{low if low == high else f'{low} to {high}'} TFLOP/s{rounded}"


def _trust(records: Sequence[SpeedRecord]) -> list[str]:
    """What may have disturbed the measurements, and how many calls they rest on."""
    calls = {len(mode["seconds"]) for record in records for mode in record["modes"].values()}
    remarks = [
        f"Medians over {_range(calls)} calls; † marks a method with a spread between quartiles above "
        f"{SHARE * timing.STEADY:g} % of the median: do not rely on it."
    ]
    by_remark: dict[str, list[str]] = defaultdict(list)
    for record in records:
        for remark in timing.remarks(record):
            by_remark[remark.partition(":")[0]].append(record["title"])
    noticed = [
        f"{_some(titles, len(records))}: {remark}." for remark, titles in by_remark.items() if remark != "unstable"
    ]
    return [
        *remarks,
        f"Load of the machine before: {_range({record['conditions']['load'] for record in records})}.",
        *noticed,
    ]


def _some(titles: Sequence[str], total: int) -> str:
    titles = list(dict.fromkeys(titles))
    return "All" if len(titles) == total and total > 1 else ", ".join(titles)


def _range(numbers: set[float]) -> str:
    return f"{min(numbers)}" if len(numbers) == 1 else f"{min(numbers)} to {max(numbers)}"


# ----------------------------------------------------------------------------------------------------------------------
# The figure


@in_style
def throughput(records: Sequence[SpeedRecord]) -> Figure | None:
    """Images a second of each method, in training and prediction; a marker per batch size. None without records."""
    frame = speed_frame(records)
    if frame.empty:
        return None
    labels = list(dict.fromkeys(frame.label))
    figure = page(TEXT, 0.16 * len(labels) + 0.75)
    panels = figure.subplots(1, 2, sharey=True)
    heads = ("Training", "Labelled images per second"), ("Prediction", "Images per second")
    for axes, mode, (title, unit) in zip(panels, ("train", "predict"), heads, strict=True):
        _throughput_panel(axes, frame, labels, mode)
        axes.set_title(title)
        axes.set_xlabel(unit)
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    batches = frame.batch.nunique()
    if batches > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=min(batches, 6))
    hollow = " Hollow: unstable." if frame.unstable.any() else ""
    return finished(
        figure,
        "Images per second in training (labelled ones: most methods forward as many unlabelled ones beside them, "
        "supervised none) and in prediction, at the median; bars reach to the 95th percentile of the time of a call."
        + hollow,
    )


def _throughput_panel(axes: Axes, frame: pd.DataFrame, labels: Sequence[str], mode: str) -> None:
    axes.grid(axis="x")
    axes.set_xlim(0, 1.06 * frame[f"{mode}_images_per_s"].max())
    sizes = sorted(set(frame.batch))
    for k, size in enumerate(sizes):
        colour, marker, _ = SERIES[k % len(SERIES)] if len(sizes) > 1 else (BLACK, "o", "-")
        block = frame[frame.batch == size]
        y = block.label.map(labels.index).to_numpy() + 0.16 * (k - (len(sizes) - 1) / 2)
        rate = block[f"{mode}_images_per_s"].to_numpy()
        slow = rate * block[f"{mode}_s"].to_numpy() / block[f"{mode}_p95_s"].to_numpy()
        axes.hlines(y, slow, rate, color=GREY, linewidth=0.8)
        fill = np.where(block.unstable, "white", colour)
        axes.scatter(rate, y, s=12, marker=marker, c=fill, edgecolors=colour, linewidths=0.8, zorder=3)
        axes.scatter([], [], s=12, marker=marker, color=colour, label=f"{size} labelled images a step")


# ----------------------------------------------------------------------------------------------------------------------
# Files


class Place(NamedTuple):
    """The tables and the figure of one device and network."""

    name: str
    tables: dict[str, Table]  # the one to be shown, and others
    figure: Picture | None = None

    @property
    def shown(self) -> str:
        """The name of the table to be shown."""
        return next(iter(self.tables))

    @property
    def folder(self) -> str:
        return f"speed/{timing.slug(self.name)}"

    def links(self, table: str) -> dict[str, str]:
        """The addresses of a table's files beside the page, by their kind."""
        return {ending.upper(): f"tables/{self.folder}/{PREFIX}{table}.{ending}" for ending in FORMATS}


def render(records: Sequence[SpeedRecord], out: Path) -> list[Place]:
    """Writes tables/speed/… and figures/speed/… of each place into `out`, and the table of ratios."""
    places_ = []
    for name, group in places(records).items():
        figure = throughput(group)
        png, _ = save(figure, out / "figures" / "speed" / timing.slug(name) / "throughput")
        places_.append(Place(name, tables(group, name), picture(png.read_bytes(), figure.get_label())))
    if found := ratios.table(records):
        places_.append(Place(ratios.PLACE, {"ratios": found}))
    for place in places_:
        for table in place.tables.values():
            for ending, text in rendered(table).items():
                path = out / "tables" / place.folder / f"{table.name}.{ending}"
                write_text(path, text)
    return places_


def index(places_: Sequence[Place]) -> str:
    """What an index says of all places, as Markdown: how fast training is, and where the other tables are."""
    remarks = ["## Speed\n"] if places_ else []
    for place in places_:
        remarks.append(to_markdown(place.tables[place.shown], folded=True))
        for kind, table in place.tables.items():
            links = ", ".join(f"[{ending.lower()}]({link})" for ending, link in place.links(kind).items())
            remarks.append(f"- {markdown(table.title)}: {links}")
        if place.figure:
            remarks.append(
                f"\n![throughput](figures/{place.folder}/throughput.png)\n\n{markdown(place.figure.caption)}"
            )
        remarks.append("")
    return "\n".join(remarks)


def again(source: dict, records: Sequence[SpeedRecord]) -> Table | None:
    """The table with this source, from the records as they are now; None without such records."""
    if source["table"] == ratios.NAME:
        return ratios.table(records)
    group = places(records).get(source["place"])
    name = choose(source["table"].removeprefix(PREFIX), list(TABLES), "table of speed")
    return group and TABLES[name](group, source["place"])
