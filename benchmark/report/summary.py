"""The scores of one run, metric by metric, with intervals over patients."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark import metrics
from benchmark.stats import mean_interval

PER_CLASS = {
    "dice": ("Dice", 1.0),
    "jaccard": ("Jaccard", 1.0),
    "hd95": ("HD95 (pixels)", np.inf),
    "assd": ("ASSD (pixels)", np.inf),
    "boundary_f1": (f"Boundary F1 (within {metrics.BOUNDARY_TOLERANCE:g} pixels)", 1.0),
}
PER_IMAGE = {
    "object_f1": ("Object F1", 1.0),
    "object_dice": ("Object Dice", 1.0),
    "object_hausdorff": ("Object Hausdorff (pixels)", np.inf),
    "ece": ("Calibration error", 1.0),
}


def summary(scores: Sequence[dict[str, Any]], classes: Sequence[str]) -> list[tuple[str, float, float, float, int]]:
    """Rows (metric, mean over images, low, high, images with a value) from the scores of `benchmark.evaluate.evaluate`.

    The bounds are a 95 % interval over patients, within the metric's range; nan if there is one patient.
    Where a class was missed or falsely alarmed, its distances come a second time without those images. The last row is
    what CDMA's released code would print instead of our Dice, and the difference, without an interval.
    """
    patients = [image["patient"] for image in scores]

    def line(name: str, values: Sequence[float | None], most: float) -> tuple[str, float, float, float, int]:
        values = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        return name, *mean_interval(values, patients, most=most), int((~np.isnan(values)).sum())

    table = []
    for c, class_name in enumerate(classes[1:]):
        of = f", {class_name}" if len(classes) > 2 else ""
        one_sided = [image["present"][c] != image["predicted"][c] for image in scores]
        for key, (name, most) in PER_CLASS.items():
            values = [image[key][c] for image in scores]
            table.append(line(name + of, values, most))
            if any(one_sided) and key in ("hd95", "assd"):
                found = [None if missed else value for value, missed in zip(values, one_sided, strict=True)]
                table.append(line(f"{name}{of}, hits only", found, most))
    for key, (name, most) in PER_IMAGE.items():
        if scores and key in scores[0]:
            table.append(line(name, [image[key] for image in scores], most))
    for c, class_name in enumerate(classes[1:]):
        of = f", {class_name}" if len(classes) > 2 else ""
        alarms = [metrics.false_alarm(image["present"][c], image["predicted"][c]) for image in scores]
        if not np.isnan(alarms).all():
            table.append(line(f"Share of object-free images with a false alarm{of}", alarms, 1.0))
    if len(scores) > 1:
        dice = np.array([[image["background_dice"], *image["dice"]] for image in scores], dtype=np.float64)
        released = metrics.dice_as_released_cdma(dice)
        more = released - np.nanmean(dice[:, 1:]) if not np.isnan(dice[:, 1:]).all() else np.nan
        table.append((f"Dice as CDMA's released code counts ({more:+.3f})", released, np.nan, np.nan, len(scores) - 1))
    return table
