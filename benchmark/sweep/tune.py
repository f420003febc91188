"""Tuning: the same number of trials for every method, scored on validation images only.

A trial is a run in a folder of its own, executed and resumed like any run; its test images are not opened. Its settings
follow from the run records of the trials before it alone, so tuning continues wherever these records are.
"""

import dataclasses
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

import methods
from benchmark import run_records
from benchmark.datasets.store import Store
from benchmark.files import write_text
from benchmark.protocol.batches import draw
from benchmark.run_records import RunRecord
from benchmark.runs import Run

FOLDER = "tuning"  # of the results
ROUND = 5  # trials that are proposed together, however many workers there are, so that they are always the same
WIDE = 10.0  # rates and weights: from a tenth of the published value to ten times it; so wide a range is logarithmic
DIGITS = 3  # of a proposed value
FREE = ("ratio", "draw", "seed", "tuned")  # fields in which a run may differ from the tuned one

optuna.logging.set_verbosity(optuna.logging.WARNING)


def ranges(run: Run) -> dict[str, tuple[float, float]]:
    """What is tuned, with its range: `lr`, every weight, and the settings in `Method.tuned`."""
    published = {"lr": run.lr} | _published(run.method)
    wide = [name for name, value in published.items() if name == "lr" or (name.startswith("weight") and value)]
    return {name: (published[name] / WIDE, published[name] * WIDE) for name in wide} | methods.get(run.method).tuned


def check(run: Run, store: Store) -> None:
    """Refuses a run without validation images, on which trials are scored."""
    if not draw(store, run).val:
        raise ValueError(
            f"Split '{run.split}' of '{store.name}' has no validation image, on which trials are scored; choose "
            "another split, or add images of more patients with masks."
        )


def trials(run: Run, count: int, tuning: Path) -> list[Run]:
    """The trials of a run that are known: a round is known once all trials of earlier rounds have run records.

    The first trial is the run itself, with published settings. The rest of the first round is random; further rounds
    are proposed by a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) from all earlier trials.

    Args:
        run: a complete run.
        count: number of trials.
        tuning: folder of the run records of trials.
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
        finished = [run_records.find(tuning, trial.key) for trial in these]
        if None in finished:
            break
        for trial, record in zip(asked, finished, strict=True):
            study.tell(trial, score(record))
    return known


def score(record: RunRecord) -> float:
    """The mean Dice of a trial on validation images at the last step; 0 if it diverged."""
    return record.validation["dice"][-1] if record.status == "done" else 0.0


def outcome(run: Run, count: int, tuning: Path) -> dict[str, Any] | None:
    """The outcome of a tuning, even if the run records of its trials are missing; None if there is none."""
    path = tuning / f"{run.key}_{count}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save(run: Run, known: Sequence[Run], tuning: Path) -> dict[str, Any]:
    """Writes the outcome of all trials: their settings and scores, and which is `chosen`, the first of the best."""
    trial_records = [run_records.find(tuning, trial.key) for trial in known]
    scores = [score(record) for record in trial_records]
    certificate = trial_records[0].certificate
    outcome = {
        "key": f"{run.key}_{len(known)}",
        "run": dataclasses.asdict(run),
        "title": trial_records[0].title,
        "ranges": ranges(run),
        "chosen": scores.index(max(scores)),
        "trials": [
            {"key": trial.key, "lr": trial.lr, "settings": trial.settings, "status": record.status, "dice": dice}
            for trial, record, dice in zip(known, trial_records, scores, strict=True)
        ],
        "validation": {"images": certificate.images["val"], "list": certificate.lists["val"]},
        "sampler": f"TPE of optuna {optuna.__version__}, seed {run.seed}",
    }
    text = json.dumps(outcome, indent=1, allow_nan=False)
    write_text(tuning / f"{outcome['key']}.json", text + "\n")
    return outcome


def tuned(wanted: Sequence[Run], results: Path) -> list[Run]:
    """Complete runs with the tuned learning rate and settings of their methods.

    A run takes the outcome with the largest labelled fraction that is not above its own: labelled subsets are nested,
    so that tuning used no label that the run does not have. All other fields must be those that were tuned.

    Raises:
        ValueError: if a method was not tuned, or methods were tuned with unequal numbers of trials.
    """
    outcomes = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((results / FOLDER).glob("*.json"))]
    taken = [_taken(run, outcomes) for run in wanted]
    counted = [(len(outcome["trials"]), run) for run, outcome in zip(wanted, taken, strict=True)]
    (least, fewest), (most, other) = (of(counted, key=lambda pair: pair[0]) for of in (min, max))
    if least < most:
        raise ValueError(
            f"'{fewest.method}' at ratio {fewest.ratio:g} was tuned with {least} trials and '{other.method}' at "
            f"{other.ratio:g} with {most}, so they cannot be compared; give: bench tune --methods {fewest.method} "
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
