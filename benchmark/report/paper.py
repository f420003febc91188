"""What a paper needs of the results: methods section, dataset table, aggregate, checklist and references."""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.analysis import standing
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.ranking import aggregate as aggregated
from benchmark.files import write_text
from benchmark.protocol.scores import COMPUTED, POINTS
from benchmark.report import bibliography
from benchmark.report.tables import notes
from benchmark.report.tables.formats import rendered
from benchmark.report.tables.formatting import METHOD, percent, plain, say
from benchmark.report.tables.headroom import SHARE
from benchmark.report.tables.table import Cell, Column, Line, Table, markdown
from benchmark.words import some

FOLDER = "paper"
OPEN = "to be written by the authors"


def write(compared: dict[str, Comparison], out: Path) -> list[Path]:
    """Writes paper/ into a folder: methods.md, checklist.md, references.bib, and the tables in every format."""
    best_first = list(standing.ordered(compared).values())
    files = {"methods.md": methods_section(best_first), "checklist.md": checklist(best_first)}
    records = [record for one in best_first for record in one.records.values()]
    files[bibliography.FILE] = bibliography.bibtex({r.run.method for r in records}, {r.run.dataset for r in records})
    for name, function in TABLES.items():
        table = function(best_first)
        files |= {f"{name}.{ending}": text for ending, text in rendered(table).items()} if table else {}
    for name, text in files.items():
        write_text(out / FOLDER / name, text)
    return [out / FOLDER / name for name in files]


def methods_section(compared: Sequence[Comparison]) -> str:
    """Protocol, settings, budgets, splits and statistics, in sentences from the records."""
    text = ["# Methods\n", "Written from the run records; shorten it for the paper.\n"]
    for one in compared:
        labels = one.published
        names = [label for label in labels if label != one.supervised]
        text.append(f"## {markdown(one.name)}\n")
        text.append(f"Compared are {', '.join([one.supervised or 'no baseline', *names])}.\n")
        text += [f"- {markdown(sentence)}" for sentence in notes.trust(one, labels, one.options.uneven) if sentence]
        text += [f"- {markdown(sentence)}" for sentence in standing.sentences(one)]
        text.append("")
    if compared:
        text += ["## Statistics\n", *(f"- {sentence}" for sentence in _statistics(compared[0])), ""]
    return "\n".join(text)


def _statistics(one: Comparison) -> list[str]:
    return [
        notes.legend(one.options.uneven),
        "Intervals and tests treat patients, draws and seeds as random, and are of differences on the same test images "
        "after the same draws and seeds.",
        *notes.claimed(one),
        "Average ranks are within each patient, draw and seed; their intervals come from a bootstrap over patients and "
        "draws.",
    ]


def datasets(compared: Sequence[Comparison]) -> Table | None:
    """A line for each comparison and labelled fraction: images and patients of each part of the split."""
    lines = []
    for one in compared:
        first = next(iter(one.records.values()))
        for ratio in one.ratios(one.published):
            held = [r.certificate for r in one.records.values() if r.run.ratio == ratio and not r.run.draw]
            held = held or [r.certificate for r in one.records.values() if r.run.ratio == ratio]
            keys = tuple(key for key, record in one.records.items() if record.run.ratio == ratio)
            counts = [
                Cell(f"{held[0].images[part]:,} ({held[0].patients[part]:,})", held[0].images[part], runs=keys)
                for part in ("labelled", "unlabelled", "val", "test")
            ]
            size = plain(first.pixel_um or float("nan"), 2, keys)
            name = Cell(one.name, runs=keys, cite=bibliography.dataset_key(first.run.dataset))
            unit = Cell(first.unit)
            lines.append(Line((name, Cell(first.run.split or "default"), unit, *counts, size), percent(ratio)))
    if not lines:
        return None
    columns = (
        Column("Comparison", "text"), Column("Split", "text"), Column("Unit", "text"),
        *(Column(name, unit="images") for name in ("Labelled", "Unlabelled", "Validation", "Test")),
        Column("µm per pixel", unit="µm"),
    )  # fmt: skip
    remark = "Images, and in brackets units of the split (patients, organs, slides), of the first draw."
    return Table(
        "datasets", "Datasets and splits", columns, tuple(lines), (remark,), _source("datasets", compared), "Labelled"
    )


def aggregate(compared: Sequence[Comparison]) -> Table | None:
    """Methods over all settings in which methods are ranked: average rank, its stability, share of the headroom."""
    found = aggregated(compared)
    if not found:
        return None
    lines = []
    for one in found:
        keys = tuple(key for of in compared for ratio in of.ratios([one.label]) for key in of.keys(one.label, ratio))
        bounds = f"{say(one.rank, 1)} [{say(one.rank_low, 1)}, {say(one.rank_high, 1)}]"
        rank = Cell(bounds, one.rank, one.rank_low, one.rank_high, runs=keys)
        gap = plain(SHARE.scale * one.gap, SHARE.digits, keys)
        lines.append(Line((Cell(one.label, runs=keys), rank, plain(100 * one.first, 0, keys), gap)))
    columns = (
        METHOD, Column("Average rank ↓", "interval", unit="rank"), Column("Best rank in (%)", unit="% of samples"),
        Column("Gap closed (%) ↑", unit="% of the headroom"),
    )  # fmt: skip
    settings = found[0].settings
    new = "new settings" if settings > 1 else "new patients and draws"
    remarks = (
        f"Over {some(settings, 'setting')} (a comparison at a labelled fraction) in which methods are ranked, of the "
        f"methods that all of them have; each setting has the same weight. In brackets the 95 % interval for {new}, by "
        "a bootstrap. Best rank: the share of bootstrap samples in which the method has the best average rank.",
    )
    return Table("aggregate", "Methods over settings", columns, tuple(lines), remarks, _source("aggregate", compared))


def _source(name: str, compared: Sequence[Comparison]) -> dict:
    options = compared[0].options
    return {
        "table": name, "metric": "dice" if options.metric == "mean_dice" else options.metric, "uneven": options.uneven,
        "suite": options.suite, "runs": sum(len(one.records) for one in compared),
    }  # fmt: skip


TABLES: dict[str, Callable[[Sequence[Comparison]], Table | None]] = {"datasets": datasets, "aggregate": aggregate}


def checklist(compared: Sequence[Comparison]) -> str:
    """Items of Metrics Reloaded and of CLAIM for segmentation, with what the records know about each."""
    records = [record for one in compared for record in one.records.values()]
    done = [record for record in records if record.status == "done"]
    leaks = {record.certificate.leak for record in records if record.certificate.leak}
    audited = all(record.certificate.audit for record in records)
    patients = ", ".join(f"{one.name} {len(one.patient_names)}" for one in compared)
    commits = ", ".join(sorted({record.machine.commit or "unknown" for record in records}))
    computed = [score.title for score in COMPUTED if any(score.name in record.scores for record in done)]
    items = {
        "Metrics Reloaded": [
            ("Overlap and boundary scores are both reported", ", ".join(computed) or "no"),
            ("Scores of every class; the mean over classes has its own name", "yes"),
            ("Policy for images without an object", "no score if nothing is predicted; Dice 0 for a false alarm"),
            ("Aggregation respects the units of sampling", "intervals over patients, draws and seeds"),
            ("Uncertainty of scores and ranks", "95 % intervals; ranks with a bootstrap"),
            ("Scale of the printed scores", f"{POINTS}; distances in pixels"),
            ("Choice of scores for the clinical question", OPEN),
        ],
        "CLAIM, segmentation": [
            ("Data source, licence, eligibility", f"datasets table; {OPEN}"),
            ("Reference standard and annotators", OPEN),
            ("Partitions and the level at which they are disjoint", "datasets table; lists are hashed in the records"),
            (
                "Independence of the parts",
                f"audited: {'yes' if audited else 'not all'}; leaks: {'; '.join(leaks) or 'none known'}",
            ),
            ("Test patients", patients),
            ("Model, initialisation, training and hyperparameters", "methods section and run records"),
            ("Selection of the final model", "the last step; test images are opened after training"),
            ("Software and hardware", f"in every run record; commits {commits}"),
            ("Number of runs", f"{len(done)} finished, {len(records) - len(done)} diverged"),
            ("Failure analysis", "tables of patients and strata; collapsed runs are named"),
            ("Intended use and limits", OPEN),
        ],
    }
    text = ["# Checklist\n", "From the run records, as far as they know. Check every item before you submit.\n"]
    for title, of in items.items():
        text += [f"## {title}\n", "| Item | Answer |", "|---|---|"]
        text += [f"| {markdown(item)} | {markdown(answer)} |" for item, answer in of] + [""]
    return "\n".join(text)
