"""EBHI-Seg: colonoscopy biopsies of six grades, with the glandular epithelium outlined."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.datasets.base import Dataset, Item, Record
from benchmark.datasets.images import black_and_white, pictures
from benchmark.datasets.splits import split_by_group

GRADES = ("Normal", "Polyp", "Serrated adenoma", "Low-grade IN", "High-grade IN", "Adenocarcinoma")
MALIGNANT = ("High-grade IN", "Adenocarcinoma")
LOW_GRADE = "Low-grade IN"
CASE = re.compile(r"(\d+)-(\d+)-400-(\d+)$")  # case, section, magnification, frame


class EbhiSeg(Dataset):
    title = "EBHI-Seg: colonoscopy biopsies, H&E, 400×"
    licence = "CC BY 4.0; attribution: EBHI-Seg, MIaMIA Group, L. Shi et al., figshare 2022"
    source = "https://doi.org/10.6084/m9.figshare.21540159.v1"
    size = "2,226 images of 224 × 224 from 340 cases; 56 MB as JPEG"
    cite = "Shi et al., Frontiers in Medicine 10:1114673, 2023"
    classes = ("background", "epithelium")
    tasks = ("epithelium", "malignant", "grade")
    task_classes = {"grade": ("background", "benign", "low-grade", "malignant")}  # noqa: RUF012
    cautions = {  # noqa: RUF012
        "grade": "The task grade is partly classification: all epithelium of an image has the class of the image's "
        "diagnosis, so a score also depends on how well images are classified."
    }
    splits = {"case": "cases disjoint, shares of images and grades kept"}  # noqa: RUF012

    def items(self, root: Path) -> list[Item]:
        """GRADE/image/NAME.* with GRADE/label/NAME.*; an image without a label is one that nobody has annotated."""
        items = []
        for grade in GRADES:
            for folder in (root / grade / "image", root / grade / "label"):
                if not folder.is_dir():
                    raise ValueError(f"There is no folder {folder}; give the folder that holds {', '.join(GRADES)}.")
            masks = pictures(root / grade / "label")
            for stem, image in pictures(root / grade / "image").items():
                case = CASE.search(stem)
                if case is None:
                    raise ValueError(f"{image} does not end in case-section-400-frame; give it its published name.")
                mask = masks.pop(stem, None)
                items.append(Item(f"{grade}/{stem}", case[1], stratum=grade, image=image, mask=mask))
            if masks:
                raise ValueError(f"{next(iter(masks.values()))} belongs to no image; remove it, or add its image.")
        return items

    def parts(self, split: str, records: Sequence[Record]) -> dict[str, list[int]]:
        return split_by_group(records)

    def encode(self, values: np.ndarray, path: Path) -> np.ndarray:
        """Published masks are grey with soft edges."""
        return black_and_white(values, path)

    def label(self, task: str, record: Record, mask: np.ndarray) -> np.ndarray:
        """The epithelium (1) as it is, only where it is malignant, or by the grade of its image.

        `malignant` keeps it for high-grade neoplasia and adenocarcinoma; other images have no object. `grade` paints it
        with 3 for these two, 2 for low-grade neoplasia and 1 for normal tissue, polyps and serrated adenomas.
        """
        malignant = record.stratum in MALIGNANT
        if task == "malignant":
            return mask if malignant else np.zeros_like(mask)
        if task == "grade":
            return mask * np.uint8(3 if malignant else 2 if record.stratum == LOW_GRADE else 1)
        return mask
