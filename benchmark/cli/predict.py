"""`bench predict`: predicts masks of new images and slides with a trained method."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

from benchmark import progress, run_records
from benchmark.cli.errors import writable
from benchmark.cli.numbers import PIXEL_UM
from benchmark.cli.options import IMAGES, RESULTS, RUN, device_option, record_of, results_option
from benchmark.run_records import RunRecord
from benchmark.runs import Run
from benchmark.words import some

if TYPE_CHECKING:
    from benchmark.datasets.wsi import Slide
    from benchmark.protocol.evaluate import Predict


@cloup.command(
    epilog="""\b
Examples:
  bench predict --run cdma_phantom_r0.1_d0_s0_1a2b3c4d5e image.png other.jpg --out predictions
  bench predict --run cdma_mine_r1_d0 ~/wsi/case7.svs
  bench predict --run cdma_mine_r1_d0_s0 --ensemble ~/wsi/case7.svs"""
)
@cloup.argument("images", nargs=-1, required=True, type=IMAGES)
@cloup.option("--run", "key", type=RUN, required=True, help="The key of a finished run, or its unique beginning.")
@cloup.option("--ensemble", is_flag=True, help="Mean over all repeats of the run (other draws and seeds) with weights.")
@cloup.option("--mpp", type=PIXEL_UM, help="Micrometres per pixel of the images of the run, if its record lacks it.")
@cloup.option("--slide-mpp", type=PIXEL_UM, help="Micrometres per pixel at full resolution of slides that lack it.")
@cloup.option("--out", type=RESULTS, default="predictions", show_default=True, help="Folder to write to.")
@device_option
@results_option
def predict(images, key, ensemble, mpp, slide_mpp, out, device, results) -> None:
    """Predicts masks of new images and slides.

    IMAGES are files of any size, or folders of them. For an image, writes NAME_mask.png, with class numbers as pixel
    values, and NAME_overlay.png, the image with outlines. A run at a reduced resolution (--scale, --mpp) reduces new
    images by the same factor; masks have the size of the images.

    A slide is read at the resolution of the run. Writes NAME.geojson, which QuPath opens, NAME_mask.ome.tif (255 where
    there is no tissue) and NAME_overlay.png. With --ensemble also NAME_disagreement.ome.tif: the percentage of
    repeats with another class.
    """
    record = record_of(results, key)
    used = run_records.repeats(results, record) if ensemble else [record]
    if ensemble and len(used) < 2:
        raise ValueError(
            f"{record.key} has no repeats in {results}; run it with another --draw or --seed, or leave out --ensemble."
        )
    from benchmark import machine
    from benchmark.datasets import wsi
    from benchmark.protocol import checkpoint, evaluate

    pictures, slides = _sorted(images)
    um = mpp or record.pixel_um
    if slides and not um:
        raise ValueError(
            f"The record of {record.key} does not say how many µm per pixel its images had; give them with --mpp."
        )
    opened = [wsi.Slide(path, slide_mpp) for path in slides]
    writable(out, "--out", ())
    _check_targets(pictures, slides, out, ensemble)
    predicts = [checkpoint.trained(repeat, results, device).predict for repeat in used]
    where = machine.device(device)
    for path in pictures:
        _predict_image(path, evaluate.mean_of(predicts), record.run, out, where)
    for slide in opened:
        _predict_slide(slide, predicts, record, um, out, where)
    files = " and ".join(
        filter(None, [pictures and some(len(pictures), "image"), slides and some(len(slides), "slide")])
    )
    click.echo(f"The predictions of {files} are in {out}; class numbers are pixel values of masks.")


def _sorted(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Images and slides among files and folders; a folder without any is a ValueError, and so is a prediction."""
    from benchmark.datasets import images as files
    from benchmark.datasets import wsi
    from benchmark.report import slide_files
    from benchmark.report.figures import pictures

    images: list[Path] = []
    slides: list[Path] = []
    for path in paths:
        here = [file for file in sorted(path.iterdir() if path.is_dir() else [path]) if wsi.is_slide(file)]
        slides += here
        images += [file for file in files.all_pictures([path], or_none=bool(here)) if file not in here]
    predictions = [path for path in images if pictures.is_prediction(path)]
    predictions += [path for path in slides if slide_files.is_prediction(path)]
    if predictions:
        raise ValueError(
            f"{predictions[0]} was written by `bench predict`; keep predictions and images in different folders."
        )
    return images, slides


def _targets(path: Path, out: Path) -> tuple[Path, Path]:
    """Mask and overlay of an image."""
    from benchmark.datasets.folder import OF_MASKS
    from benchmark.datasets.images import nfc

    return out / f"{nfc(path.stem)}{OF_MASKS}.png", out / f"{nfc(path.stem)}_overlay.png"


def _check_targets(images: Sequence[Path], slides: Sequence[Path], out: Path, ensemble: bool) -> None:
    """Refuses two predictions of one name, and to replace what `bench predict` did not write."""
    from benchmark.report import slide_files

    targets = [target for path in images for target in _targets(path, out)]
    targets += [target for path in slides for target in slide_files.targets(out, path, ensemble)]
    if len(set(targets)) < len(targets):
        raise ValueError("Two of the images have the same name, so their masks would, too; predict them separately.")
    for target in targets:
        slide_files.check_replaceable(target)


def _predict_image(path: Path, predict: "Predict", run: Run, out: Path, device: str) -> None:
    from benchmark.datasets import resample
    from benchmark.datasets.images import read_image
    from benchmark.protocol import evaluate
    from benchmark.report.figures import pictures

    image, (mask, overlay) = read_image(path), _targets(path, out)
    reduced = image if run.scale == 1 else resample.average(image, resample.size(*image.shape[:2], run.scale))
    with progress.watching(f"Predicting {path.name}", len(reduced)) as tell:
        classes = evaluate.segment(
            predict, reduced, tile=run.tile, device=device, precision=run.precision,
            progress=lambda done, total: tell(done, "lines of pixels"),
        )  # fmt: skip
    classes = resample.enlarge(classes, image.shape[:2])
    pictures.save_png(classes, mask)
    pictures.save_png(pictures.overlay(image, classes), overlay)


def _predict_slide(
    slide: "Slide", predicts: "Sequence[Predict]", record: RunRecord, um: float, out: Path, device: str
) -> None:
    from benchmark.files import temporary_beside
    from benchmark.protocol.whole_slides import predict_slide
    from benchmark.report import slide_files

    targets, run = slide_files.targets(out, slide.path, len(predicts) > 1), record.run
    with temporary_beside(out / "raster.tif") as raster:
        area = predict_slide(predicts, slide, um, raster, tile=run.tile, device=device, precision=run.precision)
        slide_files.write_slide(slide, area, raster, targets, record.classes)
