"""NuInsSeg: nuclei of 31 human and mouse organs; the organs of the test images have no labelled image."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.datasets.base import Dataset, Item, Record
from benchmark.datasets.images import black_and_white, pictures
from benchmark.datasets.splits import split_by_group

NUMBERED = re.compile(r"(.+)_\d+$")  # organ and number of an image
SHARES = {"train": 0.5, "val": 0.1, "test": 0.4}  # so that more than ten organs are in the test part


class NuInsSeg(Dataset):
    title = "NuInsSeg: nuclei of 31 human and mouse organs, H&E, 40×"
    licence = "CC BY 4.0; attribution: NuInsSeg, A. Mahbod et al., zenodo 10518968"
    source = "https://doi.org/10.5281/zenodo.10518968"
    size = "665 images of 512 × 512 from 31 organs; 32 MB as JPEG"
    cite = "Mahbod et al., Scientific Data 11:295, 2024"
    classes = ("background", "nucleus")
    unit = "organ"
    splits = {"organ": "organs disjoint: half for training, 10 % for validation, 40 % for test"}  # noqa: RUF012
    cautions = {  # noqa: RUF012
        "organ": "The authors took one slide from each organ. No image of the organs in the test part was used for "
        "training, which is harder than new patients of a known organ."
    }

    def items(self, root: Path) -> list[Item]:
        """The published folders ORGAN/tissue images/ and ORGAN/mask binary/, or all organs in images/ and masks/."""
        folders = [(root / "images", root / "masks")] if (root / "images").is_dir() else _published(root)
        items = []
        for images, masks in folders:
            if not masks.is_dir():
                raise ValueError(f"There is no folder {masks}; put the masks of {images} there.")
            of_image = pictures(masks)
            for stem, image in pictures(images).items():
                name = NUMBERED.match(stem)
                if name is None:
                    raise ValueError(f"{image} is not named ORGAN_NUMBER; give it its published name.")
                items.append(Item(stem, name[1].replace("_", " "), image=image, mask=of_image.pop(stem, None)))
            if of_image:
                raise ValueError(f"{next(iter(of_image.values()))} belongs to no image; remove it, or add its image.")
        return items

    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        return split_by_group(records, SHARES)

    def encode(self, values: np.ndarray, path: Path) -> np.ndarray:
        """Published masks are black and white."""
        return black_and_white(values, path)


def _published(root: Path) -> list[tuple[Path, Path]]:
    """The folders of images and masks of each organ."""
    found = [(path / "tissue images", path / "mask binary") for path in sorted(root.iterdir())]
    found = [(images, masks) for images, masks in found if images.is_dir()]
    if not found:
        raise ValueError(f"There is no ORGAN/tissue images in {root}; give the folder that holds the organs.")
    return found
