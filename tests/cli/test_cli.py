"""What a person types and what they get: tables and files, or one sentence with the remedy."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TOY
from PIL import Image

from benchmark import run_records
from benchmark.cli import main
from benchmark.speed import doctor as checks


def bench(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def toy_options(data: Path, results: Path) -> list[str]:
    return [str(w) for name, value in TOY.items() for w in (f"--{name}", value)] + [
        "--data",
        data,
        "--results",
        results,
    ]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A results folder with one finished run, and what the command said."""
    results = tmp_path_factory.mktemp("results")
    code, said = bench("run", "--method", "supervised", "--threads", 1, *toy_options(data, results))
    assert code == 0, said
    return results, said


def test_a_run_writes_a_record_weights_and_a_picture(finished):
    results, said = finished
    for what in ("Dice", "Jaccard", "95 % interval"):
        assert what in said
    for kind in ("runs/*.json", "weights/*.safetensors", "pictures/*.png"):
        (path,) = results.glob(kind)
        assert str(path) in said.replace("\n", "")
        assert path.stat().st_size > 1000


def test_a_finished_run_is_shown_again_without_training(finished, data):
    results, said = finished
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*.*")}
    assert bench("run", "--method", "supervised", *toy_options(data, results)) == (0, said)
    after = {path: path.stat().st_mtime_ns for path in results.rglob("*.*")}
    assert {p: t for p, t in after.items() if "locks" not in str(p)} == {
        p: t for p, t in before.items() if "locks" not in str(p)
    }


def test_a_run_with_only_a_record_is_trained_again_and_compared_with_it(finished, data, tmp_path):
    (path,) = finished[0].glob("runs/*.json")
    record = run_records.read(path)
    record.scores["dice"][0][0], record.scores["jaccard"][0][0] = 0.5, 0.3333
    record.best.scores = {name: record.scores[name] for name in ("dice", "jaccard")}
    run_records.save(record, tmp_path)
    code, said = bench("run", "--method", "supervised", *toy_options(data, tmp_path))
    assert code == 0, said
    assert "which was there before" in said and "is kept." in said
    assert f"commit {record.machine.commit})" in said, "whoever wants the same bits has to know it"
    assert len(list(tmp_path.glob("weights/*.safetensors"))) == 1
    assert run_records.find(tmp_path, record.key).scores["dice"][0][0] == 0.5


def test_predict_writes_masks_and_overlays_of_any_size(finished, tmp_path):
    results, _ = finished
    (key,) = (path.stem for path in results.glob("runs/*.json"))
    names = ["a b.png", "größe.jpg"]
    for name, size in zip(names, [(61, 47), (300, 130)], strict=True):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / name)
    out = tmp_path / "out"
    code, said = bench(
        "predict", "--run", key[:12], "--results", results, "--out", out, *(tmp_path / name for name in names)
    )
    assert code == 0, said
    assert sorted(path.name for path in out.iterdir()) == [
        "a b_mask.png", "a b_overlay.png", "größe_mask.png", "größe_overlay.png",
    ]  # fmt: skip
    assert np.asarray(Image.open(out / "größe_mask.png")).shape == (300, 130)
    code, said = bench("predict", "--run", key[:12], "--results", results, "--out", tmp_path / "of a folder", tmp_path)
    assert code == 0, said
    assert {path.name for path in (tmp_path / "of a folder").iterdir()} == {path.name for path in out.iterdir()}


def test_a_run_at_half_the_resolution_trains_scores_and_predicts_there(data, tmp_path):
    options = [*toy_options(data, tmp_path), "--scale", 0.5, "--crop", 16]
    code, said = bench("run", "--method", "supervised", *options)
    assert code == 0, said
    (record,) = run_records.load(tmp_path)
    assert record.run.scale == 0.5
    assert len(list(tmp_path.glob("pictures/*.png"))) == 1
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (61, 47, 3), np.uint8)).save(tmp_path / "new.png")
    where = ["--results", tmp_path, "--out", tmp_path / "out"]
    code, said = bench("predict", "--run", record.key, *where, tmp_path / "new.png")
    assert code == 0, said
    assert np.asarray(Image.open(tmp_path / "out" / "new_mask.png")).shape == (61, 47), "as large as the image"
    code, said = bench("run", "--method", "supervised", *options, "--crop", 32)
    assert code == 1 and "crop of 32 pixels is larger than the image" in said and "(24 × 24)" in said
    assert "--crop 24" in said, "the side of the reduced image"
    for wrong, words in (
        (["--scale", 2], "--scale is '2'; give a number above 0 and at most 1"),
        (["--mpp", 1], "give --scale or --mpp, not both"),
        (["--scale", 1, "--mpp", 1], "is not known; add it again with"),
    ):
        code, said = bench("run", "--method", "supervised", *options, *wrong)
        assert code == 1 and words in " ".join(said.split())


def test_a_recipe_for_every_command_can_be_set_once(data, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_RECIPE", "rehearsal")
    where = ["--dataset", "toy", "--ratio", 0.5, "--data", data, "--results", tmp_path]
    code, said = bench("run", "--method", "supervised", *where)
    assert code == 0, said
    (record,) = run_records.load(tmp_path)
    assert (record.run.encoder, record.run.steps) == ("tu-test_efficientnet", 6)
    assert "The test images come from only 3 patients" in " ".join(said.split())


def test_without_a_score_there_is_no_picture_and_the_run_says_so(finished, data, tmp_path):
    (record,) = run_records.load(finished[0])
    record.scores |= {name: [[None] for _ in record.scores["name"]] for name in ("dice", "jaccard")}
    record.best.scores = {name: record.scores[name] for name in ("dice", "jaccard")}
    run_records.save(record, tmp_path)
    shutil.copytree(finished[0] / "weights", tmp_path / "weights")
    code, said = bench("run", "--method", "supervised", *toy_options(data, tmp_path))
    assert code == 0 and "Picture  none, as no test image has a score" in said


def test_the_next_command_fits_few_masks_and_small_images(blobs, tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / "few" / folder).mkdir(parents=True)
        for i in range(4):
            shutil.copy(blobs / folder / f"b{i:02}.png", tmp_path / "few" / folder)
    code, said = bench("data", "add", "folder", tmp_path / "few", "--name", "few", "--data", tmp_path / "data")
    assert code == 0 and "Next           bench sweep quick --dataset few --ratios 1 --crop 32 --data /" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method", "cmda"], "There is no method 'cmda'; did you mean 'cdma'?"),
        (["--dataset", "phantm"], "did you mean 'phantom'? The folder"),
        (["--recipe", "quik"], "There is no recipe 'quik'; did you mean 'quick'?"),
        (["--ratio", "0"], "--ratio is '0'; give a number above 0 and at most 1, such as 0.1."),
        (["--ratio", "1.5"], "--ratio is '1.5'"),
        (["--ratio", "0.001"], "leaves no labelled image"),
        (["--crop", "512"], "crop of 512 pixels is larger"),
        (["--set", "temperatur=2"], "no setting 'temperatur'; did you mean 'temperature'?"),
        (["--set", "temperature"], "has no '='"),
        (["--variant", "no_umm"], "did you mean 'no_um'?"),
        (["--split", "patients"], "did you mean"),
        (["--device", "tpu"], "no device 'tpu'"),
        (["--device", "cuda"], "sees no GPU"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--encoder", "resnet19"], "resnet19"),
    ],
)
def test_a_wrong_option_gets_one_sentence_and_leaves_nothing(words, sentence, data, tmp_path):
    code, said = bench("run", *toy_options(data, tmp_path / "results"), *words)
    assert code != 0
    assert sentence in said
    assert said.count("\n") == 1 and "Traceback" not in said
    assert not list(tmp_path.glob("results/[rwp]*"))


def test_a_results_folder_that_is_a_file_is_refused(data, tmp_path):
    (tmp_path / "results").touch()
    code, said = bench("run", *toy_options(data, tmp_path / "results"))
    assert code != 0 and "results" in said


def test_a_full_disk_is_one_sentence_and_no_file_is_half_written(data, tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    code, said = bench("run", "--method", "supervised", *toy_options(data, tmp_path))
    assert code != 0 and "The disk is full; free some space" in said and "Traceback" not in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_an_unknown_run_offers_the_nearest(finished):
    results, _ = finished
    (key,) = (path.stem for path in results.glob("runs/*.json"))
    code, said = bench("predict", "--run", key + "x", "--results", results, next(results.glob("pictures/*.png")))
    assert code != 0 and f"did you mean '{key}'" in said and "or set BENCH_RESULTS" in said


def test_a_folder_in_the_place_of_a_kind_is_recognised(tmp_path):
    code, said = bench("data", "add", tmp_path)
    assert code != 0 and f"did you mean `bench data add folder {tmp_path}`" in " ".join(said.split())


def test_data_is_added_listed_shown_and_audited(blobs, tmp_path):
    shutil.copytree(blobs, tmp_path / "my images")
    code, said = bench("data", "add", "folder", tmp_path / "my images", "--name", "mine", "--data", tmp_path / "data")
    assert code == 0 and "contact_sheet.png" in said.replace("\n", ""), said
    assert (tmp_path / "data" / "mine" / "contact_sheet.png").exists()
    listed = bench("data", "list", "--data", tmp_path / "data")[1]
    assert "mine" in listed
    assert "0.62 µm per pixel" in listed, "of GlaS"
    assert listed.count("    cite: ") == 4, "the published ones"
    assert bench("data", "show", "mine", "--data", tmp_path / "data")[0] == 0
    code, said = bench("data", "audit", "mine", "--data", tmp_path / "data")
    assert code == 0 and "patient" in said


def test_check_prints_what_passes_and_what_fails():
    code, said = bench("check", "supervised")
    assert code == 0 and "keeps the contract" in said
    assert bench("check", "supervise")[0] != 0


def test_doctor_finds_no_fault_with_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "bf16_speed", lambda device: 0.8)
    code, said = bench("doctor", "--results", tmp_path / "r", "--data", tmp_path / "d")
    assert code == 0, said
    for what in ("torchvision", "device", "precision", "threads", "results", "data"):
        assert what in said


def test_a_torchvision_of_another_torch_is_recognised_with_the_remedy(tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def mismatched(name, *rest, **others):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", mismatched)
    code, said = bench("doctor", "--results", tmp_path / "r", "--data", tmp_path / "d")
    assert code != 0
    assert "pip install --force-reinstall torch torchvision" in said


BASH = """
    eval "$(_BENCH_COMPLETE=bash_source bench)"
    COMP_WORDS=(bench run --method cd); COMP_CWORD=3
    _bench_completion bench cd --method
    echo "${COMPREPLY[@]}"
"""
ZSH = """
    compdef() { print for $2 }  # what compinit brings, and the line that is being typed, in words
    compadd() { print $completions }
    eval "$(_BENCH_COMPLETE=zsh_source bench)"
    words=(bench run --method cd) CURRENT=4
    _bench_completion
"""


@pytest.mark.parametrize(("shell", "script", "said"), [("bash", BASH, ""), ("zsh", ZSH, "for bench\n")])
def test_tab_completes_a_method_in_a_real_shell(shell, script, said, path_with_bench):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    quiet = {"bash": "--norc", "zsh": "-f"}[shell]
    env = {**os.environ, "PATH": path_with_bench, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([shell, quiet, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"{said}cdma cdma_plus\n"


def test_names_complete_in_the_shell(data, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(data))
    lines = {
        "bench run --method sup": "supervised",
        "bench run --dataset t": "toy",
        "bench sweep --methods cdma,sup": "cdma,supervised",
        "bench speed --methods sup": "supervised",
    }
    for line, offered in lines.items():
        words = {"COMP_WORDS": line, "COMP_CWORD": "3", "_BENCH_COMPLETE": "bash_complete"}
        result = CliRunner().invoke(main, prog_name="bench", env=words)
        assert f"plain,{offered}" in result.output
