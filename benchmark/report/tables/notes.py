"""What stands under a table: what its signs mean, the certificate of the split, and how it was drawn."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import methods
from benchmark.analysis import family, standing, stats
from benchmark.analysis.board import Board
from benchmark.analysis.run_table import budget, fingerprint
from benchmark.datasets import few_patients
from benchmark.records import Certificate, RunRecord
from benchmark.report.tables.formatting import Options, supervised
from benchmark.report.tables.table import LABELLED, Column, Line, Table, digest
from benchmark.runs import Run, trials_of
from benchmark.words import in_units, some

HASH = 6  # signs of a list's hash that are printed
FLOODED = 0.02  # Dice of the background, below which hardly any was found
LISTS = 5  # lists of a part whose hashes are printed
SHARED = {
    "patients": "patients", "slides": "slides", "duplicates": "duplicate images", "near": "near-duplicate images",
}  # fmt: skip


def table(
    name: str, title: str, columns: Sequence[Column], lines: Sequence[Line], board: Board, labels: Sequence[str],
    options: Options, said: Sequence[str], beside: Sequence[str] = (), blocks: str = LABELLED,
) -> Table | None:  # fmt: skip
    """The table of these labels with what every table must say; None without lines.

    Labels `beside` have no line of their own, but its numbers rest on their rows, too. `blocks` says what blocks
    of lines are.
    """
    if not lines:
        return None
    rows = [board.rows[key] for key in board.runs.key[board.runs.label.isin(labels)]]
    of = ("trust", options.uneven, *labels)
    if of not in board.known:
        board.known[of] = trust(board, labels, options.uneven)
    unit = rows[0].unit
    said = [*standing.sentences(board, options), *said]
    whole = [in_units(note, unit) for note in (*said, *board.known[of]) if note] + cautions(rows)
    title, columns = in_units(title, unit), [replace(one, name=in_units(one.name, unit)) for one in columns]
    blocks = blocks if any(line.block for line in lines) else ""
    subject = " ".join(filter(None, (rows[0].run.dataset, rows[0].run.task)))
    steps = _usual(board, labels).steps
    told = drawn(name, board, [*labels, *beside], options)
    return Table(name, f"{title}: {subject}, {steps:,} steps", tuple(columns), tuple(lines), tuple(whole), told, blocks)


def drawn(name: str, board: Board, labels: Sequence[str], options: Options) -> dict[str, Any]:
    """Which rows a table was drawn from, wherever they lie, and with which options."""
    rows = [board.rows[key] for key in board.runs.key[board.runs.label.isin(labels)]]
    runs = [row.run for row in rows]
    return {
        "table": name,
        "comparison": fingerprint(rows[0]),
        "metric": options.metric,
        "uneven": options.uneven,
        "suite": options.suite,
        **({"margin": options.margin} if name == "paired" else {}),  # no other table depends on it
        "budgets": sorted(map(list, {budget(row) for row in rows})),
        "methods": sorted({run.method for run in runs}),
        "ratios": sorted({run.ratio for run in runs}),
        "draws": sorted({run.draw for run in runs}),
        "seeds": sorted({run.seed for run in runs}),
        "runs": len(rows),
        "keys": digest(row.key for row in rows),
    }


def selected(rows: Iterable[RunRecord], told: dict[str, Any]) -> list[RunRecord]:
    """The rows that a table says it was drawn from, and what has since been added between them."""
    many = {"method": "methods", "ratio": "ratios", "draw": "draws", "seed": "seeds"}
    return [
        row
        for row in rows
        if all(getattr(row.run, one) in told[all_] for one, all_ in many.items())
        and list(budget(row)) in told["budgets"]
        and fingerprint(row) == told["comparison"]
    ]


def legend(uneven: bool, ranked: bool = True) -> str:
    """What brackets and bold mean."""
    said = "Mean over test images, then over runs [95 % interval for new patients, draws and seeds]."
    if ranked:
        said += (
            " Bold: not significantly worse than the best of its block"
            + (", unequal budgets ranked together" if uneven else "")
            + " (paired differences, range test stepped down as Holm's, level 5 %)."
        )
    return said


def claimed(board: Board, options: Options) -> list[str]:
    """How claims of better, worse and equivalent are adjusted, and over how many."""
    claims = family.against_supervised(board, options) or {None: None}
    one = next(iter(claims.values()))
    if one is None:
        return []
    score, comparisons = options.score, len(board.published_with)
    unit = " of 100" if score.scale == 100 else ""
    return [
        f"p (family): adjusted by Holm over all {one.tests} differences to supervised in the "
        f"{some(comparisons, 'comparison')} published together (methods, labelled fractions and classes). Verdict: "
        f"better or worse, if p (family) is below {family.LEVEL:g}; equivalent, if the difference lies within "
        f"± {options.margin:g} point{'s' * (options.margin != 1)}{unit} (two one-sided tests, adjusted in the same "
        "way); cannot tell otherwise, which is no sign of equality. Detectable: the smallest true difference that such "
        f"runs find with {100 * stats.POWER:.0f} %, adjusted for the family."
    ]


def trust(board: Board, labels: Sequence[str], uneven: bool) -> list[str]:
    """What every table says: runs that are missing or alone, unequal budgets, training, split, audit, leak."""
    frame = board.runs[board.runs.label.isin(labels)]
    rows = [board.rows[key] for key in frame.key]
    done = frame[frame.status == "done"]
    said = []
    if len(done) and (done.groupby(["label", "ratio"]).size() == 1).any():
        said.append(
            "Cells of a single run: the interval is for new patients, not for new draws and seeds. So are its "
            "differences and tests, unless three other methods have several draws, which show how much draws vary."
        )
    for line in frame[frame.status != "done"].itertuples():
        said.append(
            f"Diverged, and in no mean: {line.label} at {100 * line.ratio:g} %, draw {line.draw}, seed {line.seed}."
        )
    if frame.uneven.any():
        said.append(
            "† Trained with another budget than most" + ("." if uneven else ", and for that reason not ranked.")
        )
    said += unpaired(board, labels)
    said += collapsed(board, labels)
    run = rows[0].run
    most = _usual(board, labels)
    weights = f"{run.weights} weights" if run.weights in ("imagenet", "none") else "weights from a file"
    said.append(
        f"All methods: {run.encoder} with {run.decoder} decoder of width {run.width} ({weights}), "
        f"{most.steps} steps of {most.labelled} labelled and {most.unlabelled} unlabelled crops of "
        f"{most.crop} pixels, {most.optimiser}; the score is that of the last step."
    )
    said += [resolution(rows[0]), settings([row.run for row in rows]), trained_on(rows)]
    return [*said, *certificate(rows), few_patients.warning(len(board.patient_names)) if len(done) else ""]


def trained_on(rows: Sequence[RunRecord]) -> str:
    """Protocol, processors and commits of the runs, as results may differ between them."""
    devices = sorted({f"{row.machine.device} ({some(row.machine.threads, 'thread')})" for row in rows})
    commits = sorted({row.machine.commit or "unknown" for row in rows})
    return f"Protocol {rows[0].run.protocol}; trained on {' and '.join(devices)}, at commit {', '.join(commits)}."


def collapsed(board: Board, labels: Sequence[str]) -> list[str]:
    """Which runs predict nearly everything, or nothing, as foreground on most images."""
    found = []
    for label in labels:
        for ratio in board.ratios([label]):
            keys = board.keys(label, ratio)
            ways = [collapse(board.rows[key]) for key in keys]
            for way in dict.fromkeys(filter(None, ways)):
                found.append(f"{label} at {100 * ratio:g} % ({ways.count(way)} of {some(len(keys), 'run')}: {way})")
    if not found:
        return []
    return [
        f"Collapsed on most images: {', '.join(found)}. The mean of such a method depends on how often this happens, "
        "which so few runs do not show."
    ]


def collapse(row: RunRecord) -> str:
    """How a finished run failed on most images: "everything foreground", "nothing found", or "" if it did not."""
    background = np.asarray(row.scores["background_dice"], np.float64)
    if not np.isnan(background).all() and np.nanmedian(background) < FLOODED:
        return "everything foreground"
    present, predicted = (np.asarray(row.scores[name], dtype=bool).any(1) for name in ("present", "predicted"))
    return "nothing found" if present.any() and predicted[present].mean() < 0.5 else ""


def resolution(row: RunRecord) -> str:
    """At which resolution runs like this one are trained and scored; "" if images are as stored and µm unknown."""
    side = f"{row.pixel_um:.3g} µm per pixel" if row.pixel_um else ""
    if row.run.scale == 1:
        return f"Resolution: as stored, {side}." if side else ""
    return (
        f"Resolution: images and masks reduced to {row.run.scale:g} of their height and width"
        f"{f', {side}' if side else ''}; scores, and distances in pixels, are at this resolution."
    )


def unpaired(board: Board, labels: Sequence[str]) -> list[str]:
    """Which draws and seeds supervised lacks, of those that methods beside it have: they are in no difference to it."""
    base, said = supervised(board, labels), []
    for ratio in board.ratios([base]) if base else ():
        mine = set(board.places(base, ratio))
        theirs = {label: set(board.places(label, ratio)) - mine for label in labels}
        if mine and (lacking := sorted(set.union(*theirs.values()))):
            count = sum(map(bool, theirs.values()))
            said.append(
                f"At {100 * ratio:g} % differences to {base} leave out runs of {some(count, 'method')} that it has no "
                f"run beside: {', '.join(f'draw {draw} with seed {seed}' for draw, seed in lacking)}."
            )
    return said


def _usual(board: Board, labels: Sequence[str]) -> Run:
    """A run of these labels with the common budget, if they have one."""
    frame = board.runs[board.runs.label.isin(labels)]
    usual = frame[~frame.uneven] if (~frame.uneven).any() else frame
    return board.rows[usual.key.iloc[0]].run


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
        f"Settings: tuned. Learning rate and settings were the best of {_range(trials)} trials of each method, judged "
        "on the validation images of one draw, never more than the labelled ones."
    )


def certificate(rows: Sequence[RunRecord]) -> list[str]:
    """The parts of the split with their sizes and the hashes of their lists, what the audit found, and the leak."""
    held = [row.certificate for row in rows]
    said = [f"Split '{rows[0].run.split}': test {_part(held, 'test')}."]
    drawn: dict[float, dict[int, Certificate]] = defaultdict(dict)
    for row in rows:
        drawn[row.run.ratio][row.run.draw] = row.certificate
    for ratio, draws in sorted(drawn.items()):
        of = [draws[draw] for draw in sorted(draws)]
        unlabelled = _range([one.images["unlabelled"] for one in of])
        said.append(
            f"At {100 * ratio:g} %: labelled {_part(of, 'labelled')}; {unlabelled} unlabelled; "
            f"validation {_part(of, 'val')}."
        )
    pairs: dict[tuple[str, str], None] = {}
    for row in rows:
        for pair, counts in row.certificate.audit.items():
            pairs[pair.replace("-", " and ").replace("val", "validation"), _findings(counts)] = None
    found = [f"{pair} share {findings}" for pair, findings in pairs if findings]
    said.append(f"Audit: {'; '.join(found)}." if found else _clean(pairs))
    said += [f"This split leaks: {leak}." for leak in dict.fromkeys(row.certificate.leak for row in rows) if leak]
    return said


def cautions(rows: Sequence[RunRecord]) -> list[str]:
    """What whoever reads scores of this split and task must know."""
    return list(dict.fromkeys(sentence for row in rows for sentence in row.certificate.cautions))


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


def empty(board: Board, labels: Sequence[str]) -> list[str]:
    """The policy for images without an object, and how many cases it concerns."""
    rows = _done(board, labels)
    if not rows:
        return []
    if (of := ("empty", *labels)) not in board.known:
        board.known[of] = _empty(board, rows)
    return board.known[of]


def _empty(board: Board, rows: Sequence[RunRecord]) -> list[str]:
    present = np.array([row.scores["present"] for row in rows], dtype=bool)
    predicted = np.array([row.scores["predicted"] for row in rows], dtype=bool)
    said = []
    for c, name in enumerate(board.classes):
        scored = (present | predicted)[..., c].sum(1)
        missed = (present & ~predicted)[..., c].sum()
        alarms = (~present & predicted)[..., c].sum()
        of = f"{name}: " if len(board.classes) > 1 else ""
        said.append(
            f"{of}{_range(scored)} of {present.shape[1]} images are scored in a run; without an object, and none "
            f"predicted, there is no score. A missed object ({missed} in all runs) or a false alarm ({alarms}) has "
            "Dice 0 and the image's diagonal as its distance."
        )
    return said


def _done(board: Board, labels: Sequence[str]) -> list[RunRecord]:
    """The finished rows of these labels."""
    return [board.rows[key] for key in board.done.key[board.done.label.isin(labels)]] if len(board.done) else []


def cost(board: Board, labels: Sequence[str]) -> list[str]:
    """What costs are measured against and on."""
    rows = _done(board, labels)
    if not rows:
        return []
    used = [row.machine for row in rows]
    machines = sorted({f"{machine.device} ({some(machine.threads, 'thread')})" for machine in used})
    return [f"FLOPs as a multiple of supervised's; seconds of training and peak memory on {' and '.join(machines)}."]


def runs(board: Board, labels: Sequence[str]) -> str:
    """How many runs are behind a cell."""
    counts = board.done[board.done.label.isin(labels)].groupby(["label", "ratio"]).size() if len(board.done) else ()
    return f"Runs behind a cell: {_range(counts)}." if len(counts) else ""


def _range(counts: Iterable[int]) -> str:
    counts = [int(count) for count in counts]
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
