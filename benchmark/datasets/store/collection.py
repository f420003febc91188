"""Adding a dataset to a data folder, and opening one there by its name."""

import re
import shlex
from collections import Counter
from pathlib import Path

from benchmark import datasets
from benchmark.datasets.base import Dataset, Item
from benchmark.datasets.images import check_name
from benchmark.datasets.slides import Cut
from benchmark.datasets.store.disk import check_target, publish, unfinished, writing
from benchmark.datasets.store.index import FORMAT, NAME, write_index
from benchmark.datasets.store.store import Progress, Store
from benchmark.datasets.store.write import Source, write_images
from benchmark.names import choose
from benchmark.words import PATIENT

UNIT = re.compile(r"[A-Za-z][A-Za-z-]{0,29}")
FOLDER, SLIDES = OF_USERS = ("folder", "slides")  # the kinds that read what users have, under any name
GENERATED = "phantom"  # the only dataset that is generated, not read


def open_store(name: str, data: Path) -> Store:
    """Opens the dataset of that name; `phantom` is generated first if it is not there.

    Args:
        name: of the dataset.
        data: folder of the stores.

    Raises:
        ValueError: if there is no such dataset, or it has not been added.
    """
    if Path(name).name == name and (data / name / "index.json").exists():
        return Store(data / name)
    if name == GENERATED:
        return add(GENERATED, None, data)
    here = [path.parent.name for path in data.glob("[!.]*/index.json")]
    choose(name, sorted({*datasets.names(), *here} - {*OF_USERS}), "dataset")
    raise ValueError(
        f"The dataset '{name}' is not in {data}; get it ({datasets.get(name).source}) and run "
        f"`bench data add {shlex.quote(name)} PATH`."
    )


def add(
    kind: str, root: Path | None, data: Path, name: str = "", progress: Progress = lambda done, total, what: None,
    *, pixel_um: float | None = None, unit: str = PATIENT, instances: bool = False, cut: Cut | None = None,
) -> Store:  # fmt: skip
    """Reads and checks every file of a dataset, and writes its store, which appears whole or not at all.

    A store of the same name is replaced.

    Args:
        kind: of dataset, one of `datasets.names()`.
        root: folder of the images; None for a generated dataset.
        data: folder of the stores.
        name: of the dataset; "" is its kind.
        progress: called after each image.
        pixel_um: side of a pixel in micrometres, if it is known and the kind of dataset does not fix it.
        unit: what the column "patient" of patients.csv names, if not patients (kinds "folder" and "slides" only).
        instances: masks number objects, not classes (kind "folder" only).
        cut: how slides are cut into tiles (kind "slides" only).

    Raises:
        ValueError: an argument or a file is wrong (the first one is named), or something else is in `data/NAME`.
    """
    dataset, name = datasets.get(kind), name or kind
    if kind == SLIDES:
        dataset.pixel_um, dataset.cut = pixel_um, cut or dataset.cut
    elif cut:
        raise ValueError(f"'{kind}' has images and no slides; leave out --tile, --slide-mpp and --complete.")
    if instances and kind != FOLDER:
        raise ValueError(f"What masks of the kind '{kind}' number is fixed; leave out --instances.")
    dataset.instances = instances or dataset.instances
    if not NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot name a dataset; use up to 60 letters (a to z), digits, '_' and '-'.")
    if name in datasets.names() and name != kind:
        raise ValueError(f"'{name}' is a kind of dataset itself; give this one another name.")
    if not UNIT.fullmatch(unit):
        raise ValueError(f"'{unit}' is no name of a unit; give one word in the singular, such as organ, slide or tile.")
    if unit != PATIENT and kind not in OF_USERS:
        raise ValueError(f"Images of '{kind}' are grouped by {dataset.unit}; another unit is for a folder of your own.")
    dataset.unit = unit if unit != PATIENT else dataset.unit
    items = _items(dataset, kind, root, data / name)
    with writing(data), unfinished(data, name) as folder:
        index = {"format": FORMAT, "kind": kind, "pixel_um": pixel_um, "unit": dataset.unit, "instances": instances}
        write_index(index | write_images(Source(dataset, name, root, items), folder, progress), folder)
        publish(folder, data / name)
    return Store(data / name)


def _items(dataset: Dataset, kind: str, root: Path | None, target: Path) -> list[Item]:
    """The images of a dataset, before they are read; a ValueError if there is none, or the place is taken."""
    if root is None and kind != GENERATED:
        raise ValueError(f"Give the folder of '{kind}': `bench data add {kind} PATH`; available from {dataset.source}.")
    if root is not None and not root.is_dir():
        raise ValueError(f"There is no folder {root}; give the one that holds the dataset, unpacked.")
    try:
        check_target(target, root)
        items = dataset.items(root)
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read ({error.strerror}); change its permissions.") from error
    if not items:
        raise ValueError(f"There is no image of '{kind}' in {root}; give the folder that holds them: {dataset.size}.")
    if twice := [name for name, count in Counter(item.name for item in items).items() if count > 1]:
        raise ValueError(f"Two images of {root} are called '{twice[0]}'; rename one.")
    for path in (path for item in items for path in (item.image, item.mask) if path):
        check_name(path)
    return items
