"""Image and mask files are decoded fully, converted without loss, or refused with the remedy."""

import io
import struct
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image
from skimage.io import imsave

from benchmark.datasets.images import black_and_white, pictures, read_image, read_mask, values_in
from benchmark.datasets.tables import read_table


def noise(height: int = 20, width: int = 30, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def disc(height: int = 20, width: int = 30) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((y - height / 2) ** 2 + (x - width / 2) ** 2 < 36).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".webp"])
def test_lossless_rgb_files_keep_every_value(tmp_path, suffix):
    image = noise()
    Image.fromarray(image).save(tmp_path / f"a{suffix}", lossless=True)
    notes = []
    assert np.array_equal(read_image(tmp_path / f"a{suffix}", notes), image)
    assert notes == []


def test_grey_palette_and_opaque_images_become_rgb_and_are_noted(tmp_path):
    grey, colour = Image.fromarray(noise()[..., 0]), Image.fromarray(noise())
    opaque = colour.convert("RGBA")
    palette = colour.convert("P")
    for picture, word in ((grey, "grey"), (palette, "palette"), (opaque, "alpha"), (grey.convert("LA"), "grey")):
        picture.save(tmp_path / "a.png")
        notes = []
        assert np.array_equal(read_image(tmp_path / "a.png", notes), np.asarray(picture.convert("RGB")))
        assert any(word in note for note in notes), (picture.mode, notes)


def refused(tmp_path, name: str, remedy: str):
    with pytest.raises(ValueError, match=remedy) as error:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_images_that_would_be_silently_wrong_are_refused_with_the_remedy(tmp_path):
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    Image.fromarray(deep.astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(deep.astype(np.int32)).save(tmp_path / "int.tif")
    Image.frombytes("CMYK", (30, 20), noise(channels=4).tobytes()).save(tmp_path / "print.jpg")
    Image.fromarray(noise(channels=4)).save(tmp_path / "clear.png")
    Image.fromarray(disc() > 0).save(tmp_path / "bits.png")
    frames = [Image.fromarray(noise(seed=seed)) for seed in (0, 1)]
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    colour_keyed = Image.fromarray(np.zeros((20, 30), np.uint8))
    colour_keyed.save(tmp_path / "keyed.png", transparency=0)
    for name in ("deep.png", "deep.tif", "int.tif"):
        refused(tmp_path, name, "8-bit RGB")
    refused(tmp_path, "float.tif", "8-bit RGB")
    refused(tmp_path, "print.jpg", "convert it to RGB")
    refused(tmp_path, "clear.png", "flatten")
    refused(tmp_path, "keyed.png", "flatten")
    refused(tmp_path, "bits.png", "1 bit")
    refused(tmp_path, "pages.tif", "2 pages")


def test_colour_of_16_bits_is_refused_although_pillow_opens_it_as_8(tmp_path):
    image = noise().astype(np.uint16) * 257
    imsave(tmp_path / "deep.tif", image, check_contrast=False)
    (tmp_path / "deep.png").write_bytes(png_of_16_bits(image))
    for name in ("deep.png", "deep.tif"):
        with Image.open(tmp_path / name) as picture:
            assert picture.mode == "RGB"
        refused(tmp_path, name, "16 bits")


def png_of_16_bits(image: np.ndarray) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_a_truncated_image_is_named_with_its_remedy(tmp_path, suffix, kept):
    path = tmp_path / f"half{suffix}"
    Image.fromarray(noise(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    refused(tmp_path, path.name, "copy or download it again|save it as PNG")


def test_what_is_no_image_or_absent_or_empty_is_named(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    refused(tmp_path, "text.png", "save it as PNG")
    refused(tmp_path, "empty.png", "save it as PNG")
    refused(tmp_path, "absent.png", "cannot be opened")


def test_an_image_of_more_than_two_to_the_31_pixels_is_refused_before_it_is_decoded(tmp_path):
    content = io.BytesIO()
    Image.new("1", (8, 1)).save(content, "BMP")
    raw = bytearray(content.getvalue())
    raw[18:26] = (50_000).to_bytes(4, "little") * 2
    (tmp_path / "vast.bmp").write_bytes(raw)
    refused(tmp_path, "vast.bmp", "cut it")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_the_exif_orientation_is_applied_and_noted(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image = np.repeat(np.repeat(noise(4, 6), 8, 0), 8, 1)
    Image.fromarray(image).save(tmp_path / f"a{suffix}", exif=exif, quality=100, subsampling=0)
    notes = []
    turned = read_image(tmp_path / f"a{suffix}", notes)
    assert turned.shape == (48, 32, 3)
    assert np.abs(turned.astype(int) - np.rot90(image, -1)).mean() < 3
    assert notes == ["turned as its EXIF orientation says"]


def test_masks_are_read_as_numbers_whatever_holds_them(tmp_path):
    numbers = disc() * 3
    indexed = Image.fromarray(numbers, "P")
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [9, 8, 7] * 252)
    white = Image.fromarray(disc(), "P")
    white.putpalette([0, 0, 0, 255, 255, 255])
    grey = Image.fromarray(numbers)
    for picture, expected in (
        (grey, numbers),
        (grey.convert("RGB"), numbers),
        (indexed, numbers),
        (white, disc()),
        (Image.fromarray(disc() > 0), disc()),
        (Image.fromarray(numbers.astype(np.uint16) * 500), numbers.astype(np.uint16) * 500),
    ):
        picture.save(tmp_path / "m.png")
        found = read_mask(tmp_path / "m.png")
        assert np.array_equal(found, expected), picture.mode
        assert found.dtype == expected.dtype


def test_masks_in_colour_or_in_fractions_are_refused(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match="in colour"):
        read_mask(tmp_path / "m.png")
    Image.fromarray(disc().astype(np.float32)).save(tmp_path / "m.tif")
    with pytest.raises(ValueError, match="floating-point"):
        read_mask(tmp_path / "m.tif")
    Image.fromarray(disc().astype(np.int32) * -1).save(tmp_path / "m.tif")
    with pytest.raises(ValueError, match="other numbers than 0 to 65535"):
        read_mask(tmp_path / "m.tif")


def test_black_and_white_is_told_from_what_only_resembles_it(tmp_path):
    path, jpeg = tmp_path / "m.png", tmp_path / "m.jpg"
    for file in (path, jpeg):
        Image.fromarray(disc()).save(file)
    assert np.array_equal(black_and_white(disc(), path), disc())
    assert np.array_equal(black_and_white(disc() * 255, path), disc())
    assert np.array_equal(black_and_white(disc() * 200 + 20, path), disc())
    assert not black_and_white(np.full((9, 9), 7, np.uint8), jpeg).any()  # compression noise on black
    for values in (disc() * 2, disc() * 127, noise()[..., 0], disc().astype(np.uint16) * 65535):
        with pytest.raises(ValueError, match="white .255. on black"):
            black_and_white(values, path)


def test_the_values_of_a_mask_are_found_band_by_band():
    mask = np.zeros((3000, 700), np.uint8)
    mask[2999, 699], mask[0, 0] = 7, 3
    assert values_in(mask) == [0, 3, 7]


def test_pictures_are_listed_by_normalised_stem_and_oddities_are_named(tmp_path):
    composed = "Größe é 1"
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    Image.fromarray(noise()).save(tmp_path / f"{decomposed}.png")
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "._Größe.png").write_bytes(b"")
    assert list(pictures(tmp_path)) == [composed]
    (tmp_path / "notes.txt").write_text("")
    assert list(pictures(tmp_path, others=True)) == [composed]
    with pytest.raises(ValueError, match=r"notes\.txt is not an image"):
        pictures(tmp_path)
    (tmp_path / "notes.txt").unlink()
    Image.fromarray(noise()).save(tmp_path / f"{composed}.jpg")
    with pytest.raises(ValueError, match="same stem"):
        pictures(tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("comma", [",", ", ", ";"])
def test_tables_are_read_with_any_line_ends_and_blanks(tmp_path, end, comma):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + end.join([f"Image{comma}Patient", f"a{comma}Zoé", f"b {comma}2", ""]).encode())
    assert read_table(path, ("image", "patient")) == [{"image": "a", "patient": "Zoé"}, {"image": "b", "patient": "2"}]


def test_tables_that_lack_something_are_named(tmp_path):
    path = tmp_path / "t.csv"
    for text, words in (("image\na", "no column 'patient'"), ("image,patient\na,", "row 2"), ("", "no column 'image'")):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_table(path, ("image", "patient"))
    path.write_bytes("image,patient\nZoé,1".encode("latin-1"))
    with pytest.raises(ValueError, match="UTF-8"):
        read_table(path, ("image", "patient"))
