"""Equal tuning: as many trials for every method, each judged on validation images alone.

A trial is a run, carried out and resumed as any, in a folder of its own; its test images stay closed. Which settings
it has follows from the rows of the trials before it and from nothing else, so a tuning goes on wherever its rows are.
"""

import dataclasses
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

import methods
from benchmark import records
from benchmark.datasets.store import Store
from benchmark.files import write_text
from benchmark.protocol.batches import draw
from benchmark.records import RunRecord
from benchmark.runs import Run

FOLDER = "tuning"  # of the results
ROUND = 5  # trials that are proposed together, however many workers there are, so that it is always the same ones
WIDE = 10.0  # rates and weights: from a tenth of the published value to ten times it; so wide a range is logarithmic
DIGITS = 3  # of a proposed value
FREE = ("ratio", "draw", "seed", "tuned")  # in which a run may differ from the one that was tuned

optuna.logging.set_verbosity(optuna.logging.WARNING)


def ranges(run: Run) -> dict[str, tuple[float, float]]:
    """What is tuned, and where: `lr`, every weight, and what the method names itself (`Method.tuned`)."""
    published = {"lr": run.lr} | _published(run.method)
    wide = [name for name, value in published.items() if name == "lr" or (name.startswith("weight") and value)]
    return {name: (published[name] / WIDE, published[name] * WIDE) for name in wide} | methods.get(run.method).tuned


def check(run: Run, store: Store) -> None:
    """Refuses a run whose trials nothing could judge."""
    if not draw(store, run).val:
        raise ValueError(
            f"Split '{run.split}' of '{store.name}' has no validation image, and test images judge no trial; choose "
            "another split, or add images of more patients with masks."
        )


def trials(run: Run, count: int, tuning: Path) -> list[Run]:
    """The trials of a run as far as they are known: a round is, once every trial of the rounds before has a row.

    The first is the run itself, with published settings; the rest of its round is drawn at random, the further rounds
    by a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) from all before. `run` is complete.
    """
    where = {
        name: optuna.distributions.FloatDistribution(low, high, log=low > 0 and high / low >= WIDE)
        for name, (low, high) in ranges(run).items()
    }
    sampler = optuna.samplers.TPESampler(seed=run.seed, n_startup_trials=ROUND)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    published = {"lr": run.lr} | _published(run.method)
    study.enqueue_trial({name: published[name] for name in where})
    known: list[Run] = []
    while len(known) < count:
        asked = [study.ask(where) for _ in range(min(ROUND, count - len(known)))]
        these = [_with(run, trial.params) if trial.number else run for trial in asked]
        known += these
        rows = [records.find(tuning, one.key) for one in these]
        if None in rows:
            break
        for trial, row in zip(asked, rows, strict=True):
            study.tell(trial, judged(row))
    return known


def judged(row: RunRecord) -> float:
    """A trial's mean Dice on validation images at the last step; 0 where it diverged."""
    return row.validation["dice"][-1] if row.status == "done" else 0.0


def outcome(run: Run, count: int, tuning: Path) -> dict[str, Any] | None:
    """What came of so many trials, if that is known: also where their rows are not, as of published results."""
    path = tuning / f"{run.key}_{count}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save(run: Run, known: Sequence[Run], tuning: Path) -> dict[str, Any]:
    """Writes what came of all trials: their settings and scores, and which is `chosen`, the first of the best."""
    rows = [records.find(tuning, one.key) for one in known]
    scores = [judged(row) for row in rows]
    held = rows[0].certificate
    found = {
        "key": f"{run.key}_{len(known)}",
        "run": dataclasses.asdict(run),
        "title": rows[0].title,
        "ranges": ranges(run),
        "chosen": scores.index(max(scores)),
        "trials": [
            {"key": one.key, "lr": one.lr, "settings": one.settings, "status": row.status, "dice": score}
            for one, row, score in zip(known, rows, scores, strict=True)
        ],
        "validation": {"images": held.images["val"], "list": held.lists["val"]},
        "sampler": f"TPE of optuna {optuna.__version__}, seed {run.seed}",
    }
    text = json.dumps(found, indent=1, allow_nan=False)
    write_text(tuning / f"{found['key']}.json", text + "\n")
    return found


def tuned(wanted: Sequence[Run], results: Path) -> list[Run]:
    """The runs, complete ones, with the learning rate and settings that their methods were tuned to.

    A run takes those of the largest ratio that is not above its own: labelled draws are nested, so of its own draw they
    know no label that it does not. All of its other fields must be those that were tuned. Methods tuned by unequal
    numbers of trials are refused.
    """
    outcomes = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((results / FOLDER).glob("*.json"))]
    taken = [_taken(run, outcomes) for run in wanted]
    counted = [(len(outcome["trials"]), run) for run, outcome in zip(wanted, taken, strict=True)]
    (least, fewest), (most, other) = (of(counted, key=lambda one: one[0]) for of in (min, max))
    if least < most:
        raise ValueError(
            f"'{fewest.method}' at ratio {fewest.ratio:g} was tuned by {least} trials and '{other.method}' at "
            f"{other.ratio:g} by {most}, so they do not compare; give: bench tune --methods {fewest.method} "
            f"--ratios {fewest.ratio:g} --trials {most}."
        )
    return [_chosen(run, outcome) for run, outcome in zip(wanted, taken, strict=True)]


def _taken(run: Run, outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    alike = [
        outcome
        for outcome in outcomes
        if (it := Run.of(outcome["run"])).ratio <= run.ratio
        and dataclasses.replace(it, **{name: getattr(run, name) for name in FREE}) == run
    ]
    if not alike:
        raise ValueError(
            f"'{run.method}' was not tuned on '{run.dataset}' at ratio {run.ratio:g} or below with these options; give "
            f"bench tune --methods {run.method} --ratios {run.ratio:g} with the same options."
        )
    return max(alike, key=lambda outcome: (outcome["run"]["ratio"], len(outcome["trials"])))


def _chosen(run: Run, outcome: dict[str, Any]) -> Run:
    best = outcome["trials"][outcome["chosen"]]
    settings = tuple((name, value) for name, value in best["settings"])
    return dataclasses.replace(run, lr=best["lr"], settings=settings, tuned=outcome["key"])


def _with(run: Run, values: dict[str, float]) -> Run:
    rounded = {name: float(f"{value:.{DIGITS}g}") for name, value in values.items()}
    return dataclasses.replace(run, lr=rounded.pop("lr"), settings=tuple(sorted(rounded.items())))


def _published(method: str) -> dict[str, Any]:
    """The settings of a method with their published values."""
    parameters = inspect.signature(methods.get(method).__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
