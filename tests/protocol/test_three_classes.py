"""Three classes, from the drawn store to the page: the task grade of the built-in tissue."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.datasets import store as stores
from benchmark.datasets.phantom import Phantom
from benchmark.report.figures import pictures

PATIENTS = (0, 1, 2, 3, 8, 12, 13, 14, 15)  # four that train, one for validation, four for the test
CLASSES = ("benign gland", "malignant gland")


def bench(*words: object) -> str:
    outcome = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    items = [item for item in Phantom().items() if item.name in {f"p{patient:02d}-0" for patient in PATIENTS}]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Phantom, "items", lambda self, root: items)
        bench("data", "add", "phantom", "--data", folder)
    return folder


def test_the_task_grade_divides_the_glands_of_the_default_task_by_disease(data):
    store = stores.open_store("phantom", data)
    assert store.classes() == ("background", "gland")
    assert store.classes("grade") == ("background", *CLASSES)
    for place, record in enumerate(store.records):
        glands, graded = store.label(place), store.label(place, "grade")
        assert np.array_equal(graded > 0, glands > 0)
        assert set(np.unique(graded)) <= {0, 2 if record.stratum == "malignant" else 1}
    assert {record.stratum for record in store.records} == {"benign", "malignant"}
    with pytest.raises(ValueError, match="There is no task of 'phantom' 'grades'; did you mean 'grade'"):
        store.label(0, "grades")


def test_three_classes_go_from_the_store_to_records_tables_and_the_page(data, tmp_path, monkeypatch):
    said = bench("data", "show", "phantom", "--data", data)
    assert "Task grade: classes background, benign gland, malignant gland" in said
    common = ["--dataset", "phantom", "--task", "grade", "--recipe", "rehearsal", "--ratio", 1, "--data", data]
    pictured: list[str] = []
    draw = pictures.run_picture
    monkeypatch.setattr(
        pictures, "run_picture", lambda *given: (pictured.append(given[2].splitlines()[1]), draw(*given))
    )
    for method in ("supervised", "mean_teacher"):
        said = bench("run", "--method", method, *common, "--results", tmp_path)
        assert all(name in said for name in CLASSES)
    assert pictured == ["Images ranked by the mean Dice over the classes that are there or predicted"] * 2
    for path in tmp_path.glob("runs/*.json"):
        record = json.loads(path.read_text())
        assert record["classes"] == ["background", *CLASSES]
        assert all(len(image) == 2 for image in record["scores"]["dice"])
    monkeypatch.setattr("benchmark.report.folder.FIGURES", {})  # they take most of the time, and name no class
    bench("report", "--results", tmp_path, "--data", data)
    table = (tmp_path / "tables" / "phantom-grade" / "comparison.md").read_text(encoding="utf-8")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for name in CLASSES:
        assert name in table
        assert name in page
