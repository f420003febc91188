"""The table of a pilot: headroom against cost of every setting, and which is the cheapest that can answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.analysis import pilot
from benchmark.analysis.pilot import ALL, FEW, LEVEL, LONG, LONGER, PARTS, SHARE, Outcome, Setting
from benchmark.datasets import few_patients
from benchmark.protocol.scores import MEAN, SCORES
from benchmark.report.tables import notes
from benchmark.report.tables.formatting import difference, percent, plain, probability
from benchmark.report.tables.table import Cell, Column, Line, Table
from benchmark.run_records import RunRecord
from benchmark.words import in_units, some

NAME = "pilot"
COLUMNS = (
    Column("Setting", "text"), Column("Few labels"), Column("All labels"), Column("Headroom", "interval"), Column("p"),
    Column(f"All labels after {LONGER:g} × steps: change"), Column("Levelled off", "text"), Column("Seconds"),
    Column("TFLOPs"), Column("Can answer", "text"),
)  # fmt: skip


def table(found: Mapping[Setting, Mapping[str, Sequence[RunRecord]]], beyond: Sequence[Setting] = ()) -> Table | None:
    """A line for each setting with finished runs, the cheapest first; None if there is none.

    Args:
        found: the records of each setting by part (`benchmark.analysis.pilot.PARTS`).
        beyond: settings that were not run because the budget did not allow it.
    """
    outcomes = sorted(pilot.outcomes(found), key=lambda one: (one.flops, one.setting.ratio))
    if not outcomes:
        return None
    records = [record for parts in found.values() for of_part in parts.values() for record in of_part]
    run, unit = records[0].run, records[0].unit
    diverged = [setting for setting in found if setting not in {one.setting for one in outcomes}]
    said = [verdict(outcomes, beyond), *_notes(records, outcomes)]
    if diverged:
        said.append(f"Left out, because a run diverged: {'; '.join(map(str, diverged))}.")
    subject = " ".join(filter(None, (run.dataset, run.task)))
    return Table(
        NAME,
        f"Pilot: {subject}, supervised training with few and with all labels",
        COLUMNS,
        tuple(_line(one) for one in outcomes),
        (*(in_units(note, unit) for note in said if note), *notes.cautions(records)),
        _source(outcomes, beyond),
    )


def again(source: Mapping[str, Any], records: Sequence[RunRecord]) -> Table | None:
    """The table as its runs give it now; None if one of them is not here."""
    by_key = {record.key: record for record in records}
    wanted = [key for one in source["settings"] for part in PARTS for key in one[part]]
    if not all(key in by_key for key in wanted):
        return None
    found = {
        Setting(*one["setting"]): {part: [by_key[key] for key in one[part]] for part in PARTS}
        for one in source["settings"]
    }
    return table(found, [Setting(*setting) for setting in source["beyond"]])


def verdict(outcomes: Sequence[Outcome], beyond: Sequence[Setting]) -> str:
    """The cheapest setting that can answer, or that none can and why, in words."""
    best = pilot.proposed(outcomes)
    left = ""
    if beyond:
        left = f" Not run, as the budget does not allow it: {'; '.join(map(str, beyond))}."
    if best:
        score = SCORES["dice"]
        return (
            f"The cheapest setting that can answer: {best.setting} (headroom {score.scale * best.headroom.mean:.1f} "
            f"points, {best.seconds:.0f} s a run).{left}"
        )
    without = sum(not one.gained for one in outcomes)
    short = sum(one.gained and not one.levelled for one in outcomes)
    reasons = [f"the headroom of {without} is not significantly above 0"] if without else []
    reasons += [f"the upper bound of {short} has not levelled off"] if short else []
    return f"None of the settings ({len(outcomes)}) can answer: {', '.join(reasons)}.{left}"


def _line(one: Outcome) -> Line:
    score = SCORES["dice"]
    keys = {part: tuple(of_part) for part, of_part in one.keys.items()}
    both = (*keys[FEW], *keys[ALL])
    longer = (*keys[ALL], *keys[LONG])
    change = score.scale * one.change
    return Line(
        (
            Cell(str(one.setting), runs=(*both, *keys[LONG])),
            plain(score.scale * one.few, score.digits, keys[FEW]),
            plain(score.scale * one.upper, score.digits, keys[ALL]),
            difference(one.headroom, score, both),
            probability(one.p),
            Cell(f"{change:+.{score.digits}f}".replace("-", "−"), change, runs=longer),
            Cell("yes" if one.levelled else "no"),
            plain(one.seconds, 0, keys[FEW]),
            Cell(f"{one.flops / 1e12:.3g}", one.flops / 1e12, runs=keys[FEW]),
            Cell("yes" if one.answers else "no: not levelled off" if one.gained else "no: no headroom"),
        )
    )


def _notes(records: Sequence[RunRecord], outcomes: Sequence[Outcome]) -> list[str]:
    repeats = len(outcomes[0].keys[FEW])
    new = "new patients, draws and seeds" if repeats > 1 else "new patients, not for new draws and seeds"
    mean = f" ({MEAN})" if len(records[0].classes) > 2 else ""
    units = len(set(records[0].scores["patient"]))
    return [
        f"Dice{mean} in points of 100 on the test images of split '{records[0].run.split}', "
        f"{some(repeats, 'run')} of each. Headroom: all labels less few labels after as many steps [95 % interval for "
        f"{new}]; p of no headroom, by Holm's method over the settings.",
        f"Levelled off: training {LONGER:g} times as long changes the upper bound (all labels) by less than "
        f"{percent(SHARE)} of the headroom. A setting can answer if p is below {LEVEL:g} and its upper bound has "
        "levelled off.",
        "Seconds and TFLOPs of the training of one run with few labels.",
        notes.trained_on(records),
        *dict.fromkeys(notes.resolution(record) for record in records),
        few_patients.warning(units),
    ]


def _source(outcomes: Sequence[Outcome], beyond: Sequence[Setting]) -> dict[str, Any]:
    """Which runs a table was made from, so that it can be made again."""

    def listed(setting: Setting) -> list:
        return [setting.ratio, setting.steps, setting.scale, setting.crop]

    return {
        "table": NAME,
        "settings": [{"setting": listed(one.setting), **one.keys} for one in outcomes],
        "beyond": [listed(setting) for setting in beyond],
    }
