"""A store at the resolution of a run: images and masks are reduced once, and kept inside the folder of the store."""

from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import numpy as np

from benchmark.datasets import resample
from benchmark.datasets.store.disk import publish, remove, unfinished, writing
from benchmark.datasets.store.index import SCALED, array_hash, flush, read_index, write_index
from benchmark.datasets.store.store import Store
from benchmark.runs import Run


def at_resolution(store: Store, run: Run) -> Store:
    """The store with images and masks at the resolution of a run.

    Images are reduced by area averaging, masks to the class with the largest area (`benchmark.datasets.resample`). The
    result is kept in the folder of the store, and made again if the content of the store has changed. Its content hash
    is that of the stored dataset, so content and scale together identify the pixels of a run.

    Raises:
        ValueError: see `scale_of`; or the disk is full.
    """
    scale = scale_of(store, run)
    if scale == store.scale:
        return store
    stored = store if store.scale == 1 else Store(store.folder.parent)
    if scale == 1:
        return stored
    final = stored.folder / f"{SCALED}{scale}"
    if not _made_from(stored, final):
        with writing(stored.folder), unfinished(stored.folder, "scale") as folder:
            if not _made_from(stored, final):  # by the process that had the lock before
                _reduce(stored, scale, folder)
                remove(final)
                publish(folder, final)
    return Store(final)


def scale_of(store: Store, run: Run) -> float:
    """The scale of a run on the images of a store: as given, or computed from its µm per pixel.

    Raises:
        ValueError: if the resolution of the store is not known, or images would be enlarged.
    """
    if not run.mpp:
        return run.scale
    if not store.pixel_um:
        raise ValueError(
            f"The resolution of the dataset '{store.name}' in µm per pixel is not known; add it again with `bench data "
            f"add {store.kind} PATH --mpp NUMBER`, or give --scale."
        )
    stored = round(store.scale * store.pixel_um, 6)
    if run.mpp < stored:
        raise ValueError(
            f"Images of '{store.name}' have {stored:g} µm per pixel, so --mpp {run.mpp:g} would enlarge them; give "
            f"{stored:g} or more."
        )
    return round(stored / run.mpp, 6)


def largest_crop(store: Store, split: str, scale: float) -> int:
    """The side in pixels of the largest crop that fits into every training image at a scale."""
    sides = []
    for place in store.split(split)["train"]:
        record = store.records[place]
        height, width = resample.size(record.height, record.width, scale)
        sides.append(replace(record, height=height, width=width).largest_crop)
    return min(sides)


def _made_from(stored: Store, folder: Path) -> bool:
    """Whether there is a whole store in `folder` that was made from this one."""
    try:
        return (folder / "index.json").exists() and Store(folder).content == stored.content
    except ValueError:
        return False


def _reduce(stored: Store, scale: float, folder: Path) -> None:
    """Fills a folder with the images and masks of a store at a smaller scale, the index last."""
    records, start, itemsize = [], 0, stored.mask_type.itemsize
    with open(folder / "images.bin", "wb") as images, open(folder / "masks.bin", "wb") as masks:
        for place, record in enumerate(stored.records):
            height, width = resample.size(record.height, record.width, scale)
            image = np.ascontiguousarray(resample.average(stored.image(place), (height, width)))
            images.write(image.data)
            mask_hash = ""
            if record.annotated:
                mask = resample.majority(stored.mask(place), (height, width))
                masks.seek(itemsize * start)
                masks.write(mask.data)
                mask_hash = array_hash(mask)
            records.append(
                asdict(record)
                | {"height": height, "width": width, "start": start}
                | {"image_hash": array_hash(image), "mask_hash": mask_hash}
            )
            start += height * width
        masks.truncate(itemsize * start)
        flush(images, masks)
    index = msgspec.to_builtins(read_index(stored.folder)) | {
        "scale": scale,
        "pixel_um": stored.pixel_um and stored.pixel_um / scale,
        "records": records,
    }
    write_index(index, folder)
