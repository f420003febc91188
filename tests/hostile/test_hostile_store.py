"""A store deletes nothing that it did not write, and a store that was changed since is an error, not training data."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmark.cli import main
from benchmark.datasets.store import Store, add, at_resolution, open_store
from benchmark.datasets.store import store as reading
from benchmark.datasets.store.index import FILES, SCALED
from benchmark.protocol import train
from benchmark.runs import Run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(root: Path, data: Path, name: str, words: str) -> None:
    """Adding is refused in one sentence, and no file is touched; the lock is all that may be new."""
    before = contents(root), contents(data)
    with pytest.raises(ValueError, match=words) as error:
        add("folder", root, data, name)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    contents_now = {path: raw for path, raw in contents(data).items() if path != ".lock"}
    assert (contents(root), contents_now) == (before[0], {p: raw for p, raw in before[1].items() if p != ".lock"})


@pytest.fixture
def own(blobs, tmp_path) -> Path:
    """A data folder in which somebody keeps images of their own."""
    shutil.copytree(blobs, tmp_path / "data" / "m")
    return tmp_path / "data"


def test_images_that_lie_where_the_store_is_to_be_are_kept(own):
    refused(own / "m", own, "m", "lie inside the store that is to be written")
    (own / "link").symlink_to(own / "m")
    refused(own / "link", own, "m", "lie inside the store")
    refused(own / "m", own, "link", "is a symbolic link")
    parts = own.parent / "parts"
    parts.mkdir()
    for part in ("images", "masks"):
        (parts / part).symlink_to(own / "m" / part)
    refused(parts, own, "m", "lie inside the store")


def test_a_store_does_not_appear_among_the_images_that_are_read(own):
    refused(own, own, "new", "would lie inside .*which is only read")
    refused(own / "m", own / "m" / "images", "new", "would lie inside")
    (own.parent / "elsewhere").symlink_to(own / "m" / "masks")
    refused(own / "m", own.parent / "elsewhere", "new", "would lie inside")


@pytest.mark.parametrize("what", ["file", "image folder", "link", "empty name", "hidden file", "index"])
def test_a_folder_that_is_not_ours_is_not_replaced(blobs, tmp_path, what):
    data = tmp_path / "data"
    place = data / "m"
    place.mkdir(parents=True)
    if what == "file":
        place.rmdir()
        place.write_text("mine")
    elif what == "image folder":
        (place / "images").mkdir()
    elif what == "link":
        place.rmdir()
        place.symlink_to(tmp_path / "absent")
    elif what == "index":
        (place / "index.json").write_text('["somebody\'s own index"]')
    else:
        (place / {"empty name": "notes.txt", "hidden file": ".hidden"}[what]).write_text("mine")
    refused(blobs, data, "m", "give another --name, or another folder with --data")


def test_an_empty_folder_becomes_the_store(blobs, tmp_path):
    (tmp_path / "m").mkdir()
    assert len(add("folder", blobs, tmp_path, "m").records) == 23


def test_a_store_in_which_somebody_keeps_a_file_is_not_replaced(blobs, data, tmp_path):
    shutil.copytree(data / "toy", tmp_path / "data" / "toy")
    (tmp_path / "data" / "toy" / "notes.txt").write_text("mine")
    refused(blobs, tmp_path / "data", "toy", r"has files that are not of a store \(notes\.txt\)")


def test_a_file_that_came_while_images_were_read_is_kept(blobs, data, tmp_path):
    folder = tmp_path / "toy"
    shutil.copytree(data / "toy", folder)
    (folder / "index.json").write_bytes(b'{"format":1, "other":0}')

    def meanwhile(done: int, total: int, what: str) -> None:
        (folder / "notes.txt").write_text("mine")

    with pytest.raises(ValueError, match=r"notes\.txt"):
        add("folder", blobs, tmp_path, "toy", meanwhile)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "index.json").read_bytes() == b'{"format":1, "other":0}'


@pytest.mark.parametrize("spoilt", ["[]", '{"format":1,"ki', '{"format":0}', "\0"])
def test_a_store_with_a_damaged_index_can_be_added_again(blobs, data, tmp_path, spoilt):
    shutil.copytree(data / "toy", tmp_path / "toy")
    (tmp_path / "toy" / "index.json").write_text(spoilt)
    assert add("folder", blobs, tmp_path, "toy").content == open_store("toy", data).content


def test_adding_again_repairs_a_store_of_which_only_the_bytes_were_changed(blobs, data, tmp_path):
    shutil.copytree(data / "toy", tmp_path / "toy")
    flip(tmp_path / "toy" / "images.bin", 10)
    add("folder", blobs, tmp_path, "toy").verify()


def test_hidden_folders_that_only_look_like_ours_are_kept(blobs, tmp_path):
    for name in (".mine.unfinished", ".m.replaced"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "thesis.txt").write_text("mine")
    add("folder", blobs, tmp_path, "other")
    assert (tmp_path / ".mine.unfinished" / "thesis.txt").exists() and (
        tmp_path / ".m.replaced" / "thesis.txt"
    ).exists()


def test_a_store_that_was_moved_aside_by_a_killed_process_comes_back(blobs, data, tmp_path):
    shutil.copytree(data / "toy", tmp_path / ".toy.replaced")
    add("folder", blobs, tmp_path, "other")
    assert open_store("toy", tmp_path).content == open_store("toy", data).content
    shutil.copytree(data / "toy", tmp_path / ".toy.replaced")
    add("folder", blobs, tmp_path, "other")
    assert not (tmp_path / ".toy.replaced").exists()


@pytest.mark.parametrize("name", ["..", "a/b", "-m", "_m", "a b", "a.b", "größe", "m\n", "<b>", "n" * 300])
def test_names_of_datasets_are_letters_digits_and_two_signs(blobs, tmp_path, name):
    with pytest.raises(ValueError, match="cannot name a dataset; use up to 60 letters"):
        add("folder", blobs, tmp_path / "data", name)
    assert not (tmp_path / "data").exists()
    with pytest.raises(ValueError):
        open_store(f"../{tmp_path.name}", tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# Changed stores


def flip(path: Path, place: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


@pytest.fixture
def copy(data, tmp_path) -> Path:
    shutil.copytree(data, tmp_path / "data")
    return tmp_path / "data"


def test_a_flipped_byte_is_found_when_the_image_is_first_read_and_by_the_audit(copy):
    record = open_store("toy", copy).records[3]
    flip(copy / "toy" / "images.bin", 3 * record.start + 1)
    store = open_store("toy", copy)
    store.image(2)
    for read in (store.image, lambda place: store.check([place])):
        with pytest.raises(ValueError, match=f"image of '{record.name}' in .* no longer matches its hash.*--name toy"):
            read(3)
    with pytest.raises(ValueError, match=rf"1 of 23 images of .* \({record.name}\)"):
        store.verify()
    found = CliRunner().invoke(main, ["data", "audit", "toy", "--data", str(copy)])
    assert found.exit_code == 1 and record.name in found.output and "add the dataset again" in found.output


def test_inverted_masks_of_test_images_are_found_before_they_are_scored(copy, toy, tmp_path):
    store = open_store("toy", copy)
    masks = np.memmap(copy / "toy" / "masks.bin", np.uint8, "r+")
    for i in store.split()["test"]:
        record = store.records[i]
        here = slice(record.start, record.start + record.height * record.width)
        masks[here] = 1 - masks[here]
    masks.flush()
    with pytest.raises(ValueError, match="The mask of '.*' in .* no longer matches"):
        train.train(toy, open_store("toy", copy), tmp_path / "results")
    assert not list((tmp_path / "results").glob("runs/*"))


def test_a_changed_training_image_ends_the_run(copy, toy, tmp_path):
    store = open_store("toy", copy)
    for i in store.split()["train"]:
        flip(copy / "toy" / "images.bin", 3 * store.records[i].start)
    with pytest.raises(ValueError, match="The image of '.*' in .* no longer matches"):
        train.train(toy, open_store("toy", copy), tmp_path / "results")


def swap_patients(index: dict) -> None:
    first, last = index["records"][0], index["records"][-1]
    first["patient"], last["patient"] = last["patient"], first["patient"]


CHANGES = {
    "patients": swap_patients,
    "name": lambda index: index["records"][0].update(name="other"),
    "hash": lambda index: index["records"][0].update(image_hash="0" * 32),
    "fingerprint": lambda index: index["records"][0].update(fingerprint="0" * 64),
    "annotated": lambda index: index["records"][0].update(annotated=False),
    "tags": lambda index: index["records"][0].update(tags=["test"]),
    "start": lambda index: index["records"][1].update(start=0),
    "size": lambda index: index["records"][0].update(height=1, width=48 * 48),
    "order": lambda index: index["records"].reverse(),
    "removed": lambda index: index["records"].pop(),
    "classes": lambda index: index["classes"].append("third"),
    "kind": lambda index: index.update(kind="digestpath"),
    "notes": lambda index: index["notes"].clear() or index["notes"].append("all is well"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_index_is_an_error(copy, what):
    path = copy / "toy" / "index.json"
    index = json.loads(path.read_bytes())
    CHANGES[what](index)
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"index\.json is damaged or was changed \(.*\); add the dataset again"):
        open_store("toy", copy)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "null", "3", '"text"', "{}", "", '{"format":1}', '{"format":[1]}', '{"format":1,"records":{}}', "\xff",
        '{"format":1,"kind":3,"content":"","classes":[],"notes":[],"records":[]}', "[" * 100_000, '{"a":1e999}',
        '{"format":1,"kind":"folder","content":"","classes":["a","b"],"notes":[],"records":[{"name":"a"}]}',
        '{"format":1,"kind":"folder","content":"","classes":["a","b"],"notes":[],"records":[]}',
    ],
)  # fmt: skip
def test_what_is_no_index_is_named_in_one_sentence(copy, text):
    (copy / "toy" / "index.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"toy/index\.json .*add the dataset again.*--name toy") as error:
        open_store("toy", copy)
    assert "\n" not in str(error.value)


def test_an_index_that_is_a_pipe_does_not_hang(copy):
    (copy / "toy" / "index.json").unlink()
    os.mkfifo(copy / "toy" / "index.json")
    with pytest.raises(ValueError, match="a named pipe, not a regular file"):
        open_store("toy", copy)


def test_stores_from_before_the_seal_open_and_can_be_replaced(copy, blobs):
    path = copy / "toy" / "index.json"
    index = json.loads(path.read_bytes())
    assert index.pop("seal")
    path.write_text(json.dumps(index, separators=(",", ":")))
    before = open_store("toy", copy)
    before.verify()
    assert before.content == index["content"]
    assert add("folder", blobs, copy, "toy").content == before.content
    assert json.loads(path.read_bytes())["seal"]


def test_checking_an_image_costs_its_hash_once(store, monkeypatch):
    calls, real = [], reading.array_hash
    monkeypatch.setattr(reading, "array_hash", lambda values: calls.append(1) or real(values))
    fresh = Store(store.folder)
    for _ in range(3):
        fresh.check(range(5))
        fresh.image(0), fresh.mask(0), fresh.label(0)
    assert len(calls) == 6, "five images and a mask"


def test_images_in_another_file_of_the_same_size_are_found(copy):
    store = open_store("toy", copy)
    other = np.roll(np.fromfile(copy / "toy" / "images.bin", np.uint8), 48 * 48 * 3)
    other.tofile(copy / "toy" / "images.bin")
    with pytest.raises(ValueError, match="23 of 23"):
        Store(store.folder).verify()


def test_the_contact_sheet_is_the_only_other_file_in_a_store(copy):
    found = CliRunner().invoke(main, ["data", "show", "toy", "--data", str(copy)])
    assert found.exit_code == 0, found.output
    assert {path.name for path in (copy / "toy").iterdir()} == set(FILES)
    assert Image.open(copy / "toy" / "contact_sheet.png").size[0] > 100


def test_reduced_stores_go_with_their_store_and_keep_what_is_not_theirs(copy, blobs):
    folder = copy / "toy" / f"{SCALED}0.5"
    reduced = at_resolution(open_store("toy", copy), Run(scale=0.5))
    assert reduced.folder == folder
    flip(folder / "images.bin", 0)
    with pytest.raises(
        ValueError, match=rf"no longer matches its hash.*delete the folder .*{folder.name}, and it is made"
    ):
        at_resolution(open_store("toy", copy), Run(scale=0.5)).image(0)
    (folder / "notes.txt").write_text("mine")
    refused(blobs, copy, "toy", r"has files that are not of a store \(\.scale-0\.5\)")
    (folder / "notes.txt").unlink()
    flip(copy / "toy" / "images.bin", 0)
    add("folder", blobs, copy, "toy").verify()
    assert not folder.exists()


def test_the_list_says_which_stores_are_damaged_and_names_no_other_folder(copy):
    for name, text in (("bad", "[]"), ("a\nb", "{}"), ("x (1)", "{}")):
        (copy / name).mkdir()
        (copy / name / "index.json").write_text(text)
    (copy / "pipe").mkdir()
    os.mkfifo(copy / "pipe" / "index.json")
    said = CliRunner().invoke(main, ["data", "list", "--data", str(copy)]).output.splitlines()
    named = [line for line in said if not line.startswith(" ")]
    assert "toy  (added)" in named
    assert any(line.startswith("bad  (damaged: ") and "is not the index of a store" in line for line in named)
    assert any(line.startswith("pipe  (damaged: ") and "is a named pipe" in line for line in named)
    assert not any(line.startswith(("a", "x")) for line in named)
