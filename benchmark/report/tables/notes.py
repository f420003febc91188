"""What stands under a table: the meaning of its signs, the certificate of the split, and its source."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import methods
from benchmark.analysis import family, standing, stats
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.run_table import budget, fingerprint
from benchmark.datasets import few_patients
from benchmark.report.bibliography import dataset_key
from benchmark.report.tables.table import LABELLED, Column, Line, Table, digest
from benchmark.run_records import Certificate, RunRecord
from benchmark.runs import Run, trials_of
from benchmark.words import in_units, some

HASH = 6  # signs of a list's hash that are printed
FLOODED = 0.02  # Dice of the background, below which hardly any was found
LISTS = 5  # lists of a part with printed hashes
SHARED = {
    "patients": "patients", "slides": "slides", "duplicates": "duplicate images", "near": "near-duplicate images",
}  # fmt: skip


def table(
    name: str, title: str, columns: Sequence[Column], lines: Sequence[Line], comparison: Comparison,
    labels: Sequence[str],
    remarks: Sequence[str], beside: Sequence[str] = (), blocks: str = LABELLED,
) -> Table | None:  # fmt: skip
    """The table of these labels with what every table must say; None without lines.

    Labels `beside` have no line of their own, but its numbers rest on their records, too. `blocks` says what blocks
    of lines are.
    """
    if not lines:
        return None
    records = [comparison.records[key] for key in comparison.runs.key[comparison.runs.label.isin(labels)]]
    of = ("trust", comparison.options.uneven, *labels)
    if of not in comparison.known:
        comparison.known[of] = trust(comparison, labels, comparison.options.uneven)
    unit = records[0].unit
    remarks = [*standing.sentences(comparison), *remarks]
    whole = [in_units(note, unit) for note in (*remarks, *comparison.known[of]) if note] + cautions(records)
    title, columns = in_units(title, unit), [replace(one, name=in_units(one.name, unit)) for one in columns]
    blocks = blocks if any(line.block for line in lines) else ""
    subject = " ".join(filter(None, (records[0].run.dataset, records[0].run.task)))
    steps = _usual(comparison, labels).steps
    origin = source(name, comparison, [*labels, *beside])
    return Table(
        name,
        f"{title}: {subject}, {steps:,} steps",
        tuple(columns),
        tuple(lines),
        tuple(whole),
        origin,
        blocks,
        comparison.name,
        dataset_key(records[0].run.dataset),
    )


def source(name: str, comparison: Comparison, labels: Sequence[str]) -> dict[str, Any]:
    """The run records of a table, by what their runs have in common, and its options."""
    records = [comparison.records[key] for key in comparison.runs.key[comparison.runs.label.isin(labels)]]
    runs = [record.run for record in records]
    return {
        "table": name,
        "comparison": fingerprint(records[0]),
        "metric": comparison.options.metric,
        "uneven": comparison.options.uneven,
        "suite": comparison.options.suite,
        **({"margin": comparison.options.margin} if name == "paired" else {}),  # no other table depends on it
        "budgets": sorted(map(list, {budget(record) for record in records})),
        "methods": sorted({run.method for run in runs}),
        "ratios": sorted({run.ratio for run in runs}),
        "draws": sorted({run.draw for run in runs}),
        "seeds": sorted({run.seed for run in runs}),
        "runs": len(records),
        "keys": digest(record.key for record in records),
    }


def selected(records: Iterable[RunRecord], origin: dict[str, Any]) -> list[RunRecord]:
    """The records of a table by its `source`, and those added since then that belong to it."""
    many = {"method": "methods", "ratio": "ratios", "draw": "draws", "seed": "seeds"}
    return [
        record
        for record in records
        if all(getattr(record.run, one) in origin[all_] for one, all_ in many.items())
        and list(budget(record)) in origin["budgets"]
        and fingerprint(record) == origin["comparison"]
    ]


def legend(uneven: bool, ranked: bool = True) -> str:
    """What brackets and bold mean."""
    remarks = "Mean over test images, then over runs [95 % interval for new patients, draws and seeds]."
    if ranked:
        remarks += (
            " Bold: not significantly worse than the best of its block"
            + (", unequal budgets ranked together" if uneven else "")
            + " (paired differences, range test stepped down as Holm's, level 5 %)."
        )
    return remarks


def claimed(comparison: Comparison) -> list[str]:
    """How claims of better, worse and equivalent are adjusted, and over how many."""
    claims = family.against_supervised(comparison) or {None: None}
    one = next(iter(claims.values()))
    if one is None:
        return []
    score, comparisons = comparison.options.score, len(comparison.published_with)
    unit = " of 100" if score.scale == 100 else ""
    return [
        f"p (family): adjusted by Holm over all {one.tests} differences to supervised in the "
        f"{some(comparisons, 'comparison')} published together (methods, labelled fractions and classes). Verdict: "
        f"better or worse, if p (family) is below {family.LEVEL:g}; equivalent, if the difference lies within "
        f"± {comparison.options.margin:g} point{'s' * (comparison.options.margin != 1)}{unit} (two one-sided tests, "
        "adjusted in the same way); cannot tell otherwise, which is no sign of equality. Detectable: the smallest "
        f"true difference that such runs find with {100 * stats.POWER:.0f} %, adjusted for the family."
    ]


def trust(comparison: Comparison, labels: Sequence[str], uneven: bool) -> list[str]:
    """What every table says: runs that are missing or alone, unequal budgets, training, split, audit, leak."""
    frame = comparison.runs[comparison.runs.label.isin(labels)]
    records = [comparison.records[key] for key in frame.key]
    done = frame[frame.status == "done"]
    remarks = []
    if len(done) and (done.groupby(["label", "ratio"]).size() == 1).any():
        remarks.append(
            "Cells of a single run: the interval is for new patients, not for new draws and seeds. So are its "
            "differences and tests, unless three other methods have several draws, which show how much draws vary."
        )
    for line in frame[frame.status != "done"].itertuples():
        remarks.append(
            f"Diverged, and in no mean: {line.label} at {100 * line.ratio:g} %, draw {line.draw}, seed {line.seed}."
        )
    if frame.uneven.any():
        remarks.append(
            "† Trained with another budget than most" + ("." if uneven else ", and for that reason not ranked.")
        )
    remarks += unpaired(comparison, labels)
    remarks += collapsed(comparison, labels)
    run = records[0].run
    most = _usual(comparison, labels)
    weights = f"{run.weights} weights" if run.weights in ("imagenet", "none") else "weights from a file"
    remarks.append(
        f"All methods: {run.encoder} with {run.decoder} decoder of width {run.width} ({weights}), "
        f"{most.steps} steps of {most.labelled} labelled and {most.unlabelled} unlabelled crops of "
        f"{most.crop} pixels, {most.optimiser}; the score is that of the last step."
    )
    remarks += [resolution(records[0]), settings([record.run for record in records]), trained_on(records)]
    return [*remarks, *certificate(records), few_patients.warning(len(comparison.patient_names)) if len(done) else ""]


def trained_on(records: Sequence[RunRecord]) -> str:
    """Protocol, processors and commits of the runs, as results may differ between them."""
    devices = sorted({f"{record.machine.device} ({some(record.machine.threads, 'thread')})" for record in records})
    commits = sorted({record.machine.commit or "unknown" for record in records})
    return f"Protocol {records[0].run.protocol}; trained on {' and '.join(devices)}, at commit {', '.join(commits)}."


def collapsed(comparison: Comparison, labels: Sequence[str]) -> list[str]:
    """Which runs predict nearly everything, or nothing, as foreground on most images."""
    found = []
    for label in labels:
        for ratio in comparison.ratios([label]):
            keys = comparison.keys(label, ratio)
            ways = [collapse(comparison.records[key]) for key in keys]
            for way in dict.fromkeys(filter(None, ways)):
                found.append(f"{label} at {100 * ratio:g} % ({ways.count(way)} of {some(len(keys), 'run')}: {way})")
    if not found:
        return []
    return [
        f"Collapsed on most images: {', '.join(found)}. The mean of such a method depends on how often this happens, "
        "which so few runs do not show."
    ]


def collapse(record: RunRecord) -> str:
    """How a finished run failed on most images: "everything foreground", "nothing found", or "" if it did not."""
    background = np.asarray(record.scores["background_dice"], np.float64)
    if not np.isnan(background).all() and np.nanmedian(background) < FLOODED:
        return "everything foreground"
    present, predicted = (np.asarray(record.scores[name], dtype=bool).any(1) for name in ("present", "predicted"))
    return "nothing found" if present.any() and predicted[present].mean() < 0.5 else ""


def resolution(record: RunRecord) -> str:
    """At which resolution runs like this one are trained and scored; "" if images are as stored and µm unknown."""
    side = f"{record.pixel_um:.3g} µm per pixel" if record.pixel_um else ""
    if record.run.scale == 1:
        return f"Resolution: as stored, {side}." if side else ""
    return (
        f"Resolution: images and masks reduced to {record.run.scale:g} of their height and width"
        f"{f', {side}' if side else ''}; scores, and distances in pixels, are at this resolution."
    )


def unpaired(comparison: Comparison, labels: Sequence[str]) -> list[str]:
    """Which draws and seeds supervised lacks, of those that methods beside it have: they are in no difference to it."""
    base, remarks = comparison.baseline(labels), []
    for ratio in comparison.ratios([base]) if base else ():
        mine = set(comparison.places(base, ratio))
        theirs = {label: set(comparison.places(label, ratio)) - mine for label in labels}
        if mine and (lacking := sorted(set.union(*theirs.values()))):
            count = sum(map(bool, theirs.values()))
            remarks.append(
                f"At {100 * ratio:g} % differences to {base} leave out runs of {some(count, 'method')} that it has no "
                f"run beside: {', '.join(f'draw {draw} with seed {seed}' for draw, seed in lacking)}."
            )
    return remarks


def _usual(comparison: Comparison, labels: Sequence[str]) -> Run:
    """A run of these labels with the common budget, if they have one."""
    frame = comparison.runs[comparison.runs.label.isin(labels)]
    usual = frame[~frame.uneven] if (~frame.uneven).any() else frame
    return comparison.records[usual.key.iloc[0]].run


def settings(runs: Sequence[Run]) -> str:
    """Whether methods were tuned, and how; if not, which of their settings are not the published ones."""
    trials = {trials_of(run.tuned) for run in runs if run.tuned}
    if not trials:
        known = set(methods.names())
        found = {
            name: methods.unpublished(name, max(run.steps for run in runs if run.method == name))
            for name in sorted({run.method for run in runs} & known)
        }
        own = "; ".join(f"{name} {', '.join(names)}" for name, names in found.items() if names)
        if not own:
            return "Settings: published defaults, none tuned."
        return (
            f"Settings: defaults of this suite, none tuned. Not as published (`bench methods NAME` says why): {own}. "
            "Averages (decay) and warm-ups (ramp, warmup) are adapted to short runs by one rule for all methods."
        )
    return (
        f"Settings: tuned. Learning rate and settings were the best of {_range(trials)} trials of each method, by "
        "the score on the validation images of one draw, never more than the labelled ones."
    )


def certificate(records: Sequence[RunRecord]) -> list[str]:
    """The parts of the split with their sizes and the hashes of their lists, what the audit found, and the leak."""
    held = [record.certificate for record in records]
    remarks = [f"Split '{records[0].run.split}': test {_part(held, 'test')}."]
    by_draw: dict[float, dict[int, Certificate]] = defaultdict(dict)
    for record in records:
        by_draw[record.run.ratio][record.run.draw] = record.certificate
    for ratio, draws in sorted(by_draw.items()):
        of = [draws[draw] for draw in sorted(draws)]
        unlabelled = _range([one.images["unlabelled"] for one in of])
        remarks.append(
            f"At {100 * ratio:g} %: labelled {_part(of, 'labelled')}; {unlabelled} unlabelled; "
            f"validation {_part(of, 'val')}."
        )
    pairs: dict[tuple[str, str], None] = {}
    for record in records:
        for pair, counts in record.certificate.audit.items():
            pairs[pair.replace("-", " and ").replace("val", "validation"), _findings(counts)] = None
    found = [f"{pair} share {findings}" for pair, findings in pairs if findings]
    remarks.append(f"Audit: {'; '.join(found)}." if found else _clean(pairs))
    remarks += [
        f"This split leaks: {leak}." for leak in dict.fromkeys(record.certificate.leak for record in records) if leak
    ]
    return remarks


def cautions(records: Sequence[RunRecord]) -> list[str]:
    """What whoever reads scores of this split and task must know."""
    return list(dict.fromkeys(sentence for record in records for sentence in record.certificate.cautions))


def _part(held: Sequence[Certificate], part: str) -> str:
    """How large a part of the split is in these certificates: "7 images of 6 to 7 patients (lists 87e447, 9b1c40)"."""
    images, patients = ([getattr(one, what)[part] for one in held] for what in ("images", "patients"))
    if not any(images):
        return "no image"
    lists = list(dict.fromkeys(one.lists[part][:HASH] for one in held))
    more = f" and {len(lists) - LISTS} more" if len(lists) > LISTS else ""
    named = f"{'lists' if len(lists) > 1 else 'list'} {', '.join(lists[:LISTS])}{more}"
    sizes = (f"{_range(n)} {word}{'s' if max(n) > 1 else ''}" for n, word in ((images, "image"), (patients, "patient")))
    return f"{' of '.join(sizes)} ({named})"


def _clean(pairs: dict[tuple[str, str], None]) -> str:
    return "Audit: no patient, slide, duplicate or near-duplicate is shared between parts." if pairs else "Not audited."


def _findings(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[what]} {words}" for what, words in SHARED.items() if counts.get(what))


def empty(comparison: Comparison, labels: Sequence[str]) -> list[str]:
    """The policy for images without an object, and how many cases it concerns."""
    records = _done(comparison, labels)
    if not records:
        return []
    if (of := ("empty", *labels)) not in comparison.known:
        comparison.known[of] = _empty(comparison, records)
    return comparison.known[of]


def _empty(comparison: Comparison, records: Sequence[RunRecord]) -> list[str]:
    present = np.array([record.scores["present"] for record in records], dtype=bool)
    predicted = np.array([record.scores["predicted"] for record in records], dtype=bool)
    remarks = []
    for c, name in enumerate(comparison.classes):
        scored = (present | predicted)[..., c].sum(1)
        missed = (present & ~predicted)[..., c].sum()
        alarms = (~present & predicted)[..., c].sum()
        of = f"{name}: " if len(comparison.classes) > 1 else ""
        remarks.append(
            f"{of}{_range(scored)} of {present.shape[1]} images are scored in a run; without an object, and none "
            f"predicted, there is no score. A missed object ({missed} in all runs) or a false alarm ({alarms}) has "
            "Dice 0 and the image's diagonal as its distance."
        )
    return remarks


def _done(comparison: Comparison, labels: Sequence[str]) -> list[RunRecord]:
    """The finished records of these labels."""
    return (
        [comparison.records[key] for key in comparison.done.key[comparison.done.label.isin(labels)]]
        if len(comparison.done)
        else []
    )


def cost(comparison: Comparison, labels: Sequence[str]) -> list[str]:
    """What costs are measured against and on."""
    records = _done(comparison, labels)
    if not records:
        return []
    used = [record.machine for record in records]
    machines = sorted({f"{machine.device} ({some(machine.threads, 'thread')})" for machine in used})
    return [f"FLOPs as a multiple of supervised's; seconds of training and peak memory on {' and '.join(machines)}."]


def runs(comparison: Comparison, labels: Sequence[str]) -> str:
    """How many runs are behind a cell."""
    counts = (
        comparison.done[comparison.done.label.isin(labels)].groupby(["label", "ratio"]).size()
        if len(comparison.done)
        else ()
    )
    return f"Runs behind a cell: {_range(counts)}." if len(counts) else ""


def _range(counts: Iterable[int]) -> str:
    counts = [int(count) for count in counts]
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
