"""A run record that was copied, edited or damaged is named with what is wrong; so is a file of weights."""

import copy
import json
import shutil
from pathlib import Path

import msgspec
import pytest
import safetensors
import safetensors.torch
import torch
from click.testing import CliRunner
from conftest import TOY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import row, suite

from benchmark import run_records
from benchmark.analysis import run_table
from benchmark.cli import main
from benchmark.protocol import checkpoint, setup, step
from benchmark.runs import Run

RECORD = row("cdma", variant="no_um")
PLAIN = msgspec.json.decode(msgspec.json.encode(RECORD))


def bench(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


def change(plain: dict, place: str, value) -> None:
    """Sets `a.b.0` of nested dictionaries and lists; a value that can be called gets what was there."""
    *path, last = (int(part) if part.isdigit() else part for part in place.split("."))
    for part in path:
        plain = plain[part]
    plain[last] = value(plain[last]) if callable(value) else value


EDITS = {  # where, what is put there, and what is said
    "a field": ("run.lr", 0.5, "a field was edited"),
    "the seed": ("run.seed", 3, "a field was edited"),
    "a setting": ("run.settings", [["temperature", 3]], "a field was edited"),
    "the key": ("key", "mine", "a field was edited"),
    "a ratio": ("run.ratio", 7, "The ratio is 7"),
    "a Dice of 7": ("scores.dice.0.0", 7, "dice 7.0 for image 'image000', which must be from 0 to 1|dice 7 for"),
    "a Dice below 0": ("scores.dice.3.0", -0.1, "must be from 0 to 1"),
    "another Dice": ("scores.dice.5.0", lambda d: round(d - 0.01, 4), "which do not belong together"),
    "another Jaccard": ("scores.jaccard.5.0", 0.9, "which do not belong together"),
    "a Dice left out": ("scores.dice.5.0", None, "which do not belong together"),
    "one score too few": ("scores.dice", lambda d: d[:-1], "23 values of dice for 24 test images"),
    "one name too many": ("scores.name", lambda d: [*d, "x"], "25 values of name"),
    "a name twice": ("scores.name", lambda d: [d[1], *d[1:]], "23 different names"),
    "a class too many": ("scores.dice", lambda d: [[*of, 0.5] for of in d], "one dice for each of 1 classes"),
    "a distance below 0": ("scores.hd95.1.0", -3, "hd95 -3"),
    "a calibration error of 2": ("scores.ece.1", 2, "ece 2"),
    "a text for a score": ("scores.dice.1.0", "0.7", "(damaged|no number)"),
    "another best score": ("best.scores.dice.1.0", 0.9, "best Dice 0.9"),
    "a best step that never was": ("best.step", 17, "best step at 17"),
    "fewer steps": ("budget.steps", 3, "trained for 3 steps"),
    "seconds below 0": ("measured.seconds", -1, "measured.seconds"),
    "a validation of 7": ("validation.dice.0", 7, "validation dice 7"),
    "a step too far": ("validation.step.4", 10**6, "do not rise"),
    "a history with a hole": ("history.sup", lambda d: d[:-1], "19 and 20 values in its history"),
    "more labelled images": ("certificate.labelled", lambda d: [*d, 99], "lists 11 labelled images"),
    "fewer test images": ("certificate.images.test", 20, "24 values of name for 20"),
    "a part left out": ("certificate.images", {"test": 24}, "does not say how many"),
    "another status": ("status", "finished", "damaged"),
    "a hash that is none": ("weights_sha256", "abc", "no SHA-256"),
    "a type": ("classes", "gland", "damaged"),
    "an older format": ("format", 1, "has format 1, and this version reads format 2"),
    "no format": ("format", None, "has format None"),
}


@pytest.fixture
def results(tmp_path) -> Path:
    for one in suite(("supervised", "cdma"), ratios=(0.1,), bounds=False):
        run_records.save(one, tmp_path)
    return tmp_path


def edited(results: Path, place: str, value) -> Path:
    plain = copy.deepcopy(PLAIN)
    change(plain, place, value)
    path = results / "runs" / f"{RECORD.key}.json"
    path.write_text(json.dumps(plain))
    return path


def test_a_record_as_a_run_leaves_it_is_taken(results):
    edited(results, "title", "CDMA")
    assert len(run_records.load(results)) == len(run_table.load(results)) == 5
    code, said = bench("verify", "--records", "--results", results)
    assert code == 0 and "Checked 5 run records: no error." in said


@pytest.mark.parametrize(("place", "value", "said"), EDITS.values(), ids=EDITS)
def test_an_edited_record_is_named_with_what_is_wrong(results, place, value, said):
    path = edited(results, place, value)
    for reader in (run_records.load, run_table.load):
        with pytest.raises(ValueError, match=said) as caught:
            reader(results)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert str(caught.value).endswith("run it again.")


def test_a_copied_record_is_not_another_run(results):
    (one, *_) = run_records.paths(results)
    shutil.copy(one, results / "runs" / "b.json")
    for reader in (run_records.load, run_table.load):
        with pytest.raises(ValueError, match=r"runs/b.json has the key .* it is a copy; delete it"):
            reader(results)


def test_verify_names_every_record_that_does_not_hold(results):
    (one, two, *_) = run_records.paths(results)
    shutil.copy(one, results / "runs" / "b.json")
    edited(results, "scores.dice.0.0", 7)
    two.write_text("{")
    two.with_name("c.json").write_bytes(b"\x89PNG\r\n")
    code, said = bench("verify", "--records", "--results", results)
    assert code == 1 and "4 of 7 run records failed the check." in said
    for name in ("b.json", f"{RECORD.key}.json", two.name, "c.json"):
        assert sum(f"/{name} " in line for line in said.splitlines()) == 1
    code, said = bench("verify", "--results", results)
    assert code != 0 and "--records" in said


@pytest.mark.parametrize("name", ["../theirs", "a/b", ".", "a b", "x" * 101])
@pytest.mark.parametrize("field", ["method", "variant", "dataset", "task"])
def test_a_record_with_a_name_that_leads_elsewhere_is_refused(tmp_path, name, field):
    one = copy.deepcopy(RECORD)
    one.run = Run.of({**msgspec.to_builtins(one.run), field: name})
    one.key = one.run.key
    path = tmp_path / "runs" / "a.json"
    path.parent.mkdir()
    path.write_bytes(msgspec.json.encode(one))
    with pytest.raises(ValueError, match="it is a copy|names have letters"):
        run_records.read(path)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=8), st.just([]),
    st.just({}), st.lists(st.lists(st.floats(0, 1)), max_size=3),
)  # fmt: skip


def places(value, path: str = "") -> list[str]:
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    return [path] * bool(path) + [p for name, of in inner for p in places(of, f"{path}.{name}".lstrip("."))]


@given(st.lists(st.tuples(st.sampled_from(places(PLAIN)), VALUES), min_size=1, max_size=3))
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_record_with_any_value_changed_is_read_or_refused_in_one_sentence(tmp_path, changes):
    plain = copy.deepcopy(PLAIN)
    for place, value in changes:
        try:
            change(plain, place, value)
        except (TypeError, IndexError, KeyError):
            continue  # what was there is gone
    path = tmp_path / "runs" / f"{RECORD.key}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(plain), encoding="utf-8")
    for reader in (run_records.load, run_table.load):
        try:
            reader(tmp_path)
        except ValueError as error:
            assert str(path) in str(error)


@given(st.floats(0, 1), st.integers(0, 30), st.binary(max_size=6))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_record_with_any_bytes_changed_is_read_or_refused_in_one_sentence(tmp_path, where, cut, put):
    text = msgspec.json.encode(RECORD)
    at = int(where * len(text))
    path = tmp_path / "runs" / f"{RECORD.key}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text[:at] + put + text[at + cut :])
    for reader in (run_records.load, run_table.load):
        try:
            reader(tmp_path)
        except ValueError as error:
            assert str(path) in str(error)


# ----------------------------------------------------------------------------------------------------------------------
# Weights


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """Results of two runs of one network, and of one of another."""
    results = tmp_path_factory.mktemp("results")
    toy = [f"--{name}={value}" for name, value in TOY.items()] + ["--data", data, "--results", results]
    for more in (["--method=supervised"], ["--method=supervised", "--seed=1"], ["--method=mean_teacher"]):
        code, said = bench("run", *toy, *more)
        assert code == 0, said
    return results


@pytest.fixture
def here(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "results")
    return tmp_path / "results"


def found(results: Path) -> list[run_records.RunRecord]:
    """Supervised with both seeds, and the other method."""
    return sorted(run_records.load(results), key=lambda one: (one.run.method != "supervised", one.run.seed))


def test_weights_are_those_of_their_record(here):
    for one in found(here):
        checkpoint.trained(one, here, "cpu")
    code, said = bench("verify", "--records", "--results", here)
    assert code == 0 and "Checked 3 run records and 3 files of weights: no error." in said


def test_weights_of_another_run_are_refused(here):
    one, other, third = found(here)
    for wrong in (other, third):
        shutil.copy(checkpoint.weights_path(here, wrong.key), checkpoint.weights_path(here, one.key))
        with pytest.raises(ValueError, match=f"are of the run {wrong.key}; delete the file and run '{one.key}' again"):
            checkpoint.trained(one, here, "cpu")
        code, said = bench("verify", "--records", "--results", here)
        assert code == 1 and f"are of the run {wrong.key}" in said


def test_a_flipped_bit_anywhere_is_found(here):
    (one, *_), path = found(here), None
    path = checkpoint.weights_path(here, one.key)
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged|SHA-256"):
            checkpoint.trained(one, here, "cpu")


def test_weights_that_were_trained_again_for_a_record_of_before_are_taken(here, data):
    (one, *_) = found(here)
    one.weights_sha256 = "0" * 64  # of another machine
    run_records.save(one, here)
    checkpoint.weights_path(here, one.key).unlink()
    toy = [f"--{name}={value}" for name, value in TOY.items()] + ["--data", data, "--results", here]
    assert bench("run", "--method=supervised", *toy)[0] == 0
    assert run_records.find(here, one.key).weights_sha256 == "0" * 64
    checkpoint.trained(one, here, "cpu")


def test_the_message_for_weights_of_another_network_names_three_tensors(here):
    _, _, taught = found(here)
    path = checkpoint.weights_path(here, taught.key)
    with safetensors.safe_open(path, "pt") as file:
        about = {**json.loads(file.metadata()["rest"])}
        about.pop("sha256")
        tensors = {name: file.get_tensor(name)[:0] for name in file.keys() if file.get_tensor(name).ndim}  # noqa: SIM118
    checkpoint.write_tensors(tensors, path, about)
    taught.weights_sha256 = ""
    with pytest.raises(ValueError, match=r"is of another network \(\d+ tensors differ: \S+, \S+, \S+ …\)") as caught:
        checkpoint.trained(taught, here, "cpu")
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_checkpoint_of_another_run_is_refused(tmp_path, toy):
    method = setup.build(toy, 2)
    state = checkpoint.State(method, step.optimiser(method, toy))
    checkpoint.save(state, tmp_path / "one.safetensors")
    shutil.copy(tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    checkpoint.restore(state, tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match="two.safetensors is of the run one; delete it"):
        checkpoint.restore(state, tmp_path / "two.safetensors")


SMALL = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}


@given(st.floats(0, 1), st.integers(0, 20), st.binary(max_size=6))
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_weights_with_any_bytes_changed_are_refused_in_one_sentence_or_whole(tmp_path, where, cut, put):
    path = tmp_path / "w.safetensors"
    checkpoint.write_tensors(SMALL, path, {"key": "k"})
    text = path.read_bytes()
    at = int(where * len(text))
    path.write_bytes(text[:at] + put + text[at + cut :])
    try:
        tensors, _ = checkpoint.read_tensors(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        changed = any(not torch.equal(tensors[name], value) for name, value in SMALL.items() if name in tensors)
        assert (not changed and tensors.keys() == SMALL.keys()) or "sha256" not in text.decode("latin-1")
