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
CASE = re.compile(r"(\d+)-(\d+)-400-(\d+)$")  # case, section, magnification, frame


class EbhiSeg(Dataset):
    title = "EBHI-Seg: colonoscopy biopsies, H&E, 400×"
    licence = "CC BY 4.0; attribution: EBHI-Seg, MIaMIA Group, L. Shi et al., figshare 2022"
    source = "https://doi.org/10.6084/m9.figshare.21540159.v1"
    size = "2,226 images of 224 × 224 from 340 cases; 56 MB as JPEG"
    cite = "Shi et al., Frontiers in Medicine 10:1114673, 2023"
    classes = ("background", "epithelium")
    tasks = ("epithelium", "malignant")
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
        """`malignant` keeps the epithelium of high-grade neoplasia and carcinoma; other images are without object."""
        return np.zeros_like(mask) if task == "malignant" and record.stratum not in MALIGNANT else mask
