"""One file gives one array, whoever reads it: every mode and format, against pixels that are known without the reader."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_images import SIZE, exif, on_white, png, rgb, saved, tiff
from made_images import made as make_all
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image, ImageOps

import gemnet.openmmlab.images  # noqa: F401 - registers the transform
from gemnet.core.errors import DataError
from gemnet.deploy.int8.images import read_batches
from gemnet.images.pixels import MAX_PIXELS, image_size, read_image
from gemnet.registry import TRANSFORMS
from search.evaluation.data import build_data
from search.experiments.trial.final_data import build_final_data

ROOT = Path(__file__).parents[3]
MADE = make_all()
ORIENTATIONS = range(1, 9)


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("name", MADE)
def test_every_kind_of_file_gives_the_pixels_that_it_was_made_of(name, tmp_path):
    content, expected = MADE[name]
    path = written(tmp_path, name, content)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(read_image(content), expected)
    assert image_size(path) == expected.shape[:2]


def loaders() -> dict[str, dict]:
    """The first step of each pipeline that the configs have, so of training, validation and prediction."""
    steps = {}
    for config in ("gemnet_a_image_folder", "gemnet_a_imagenet", "retinanet_gemnet_a"):
        settings = Config.fromfile(ROOT / "configs" / f"{config}.py")
        for part in ("train", "val", "test"):
            dataset = settings[f"{part}_dataloader"].dataset
            steps[f"{config}.{part}"] = dataset.get("dataset", dataset).pipeline[0].to_dict()
    return steps


def test_search_training_prediction_and_calibration_read_the_same_pixels(tmp_path):
    steps = loaders()
    assert len(steps) >= 6
    with DefaultScope.overwrite_default_scope("gemnet"):
        transforms = [TRANSFORMS.build(step) for step in {str(step): step for step in steps.values()}.values()]
    for name, (content, expected) in MADE.items():
        if expected.shape[:2] != SIZE:
            continue
        paths = []
        for place in ("train/a/0", "train/a/1", "train/b/0", "train/b/1", "test/a/0", "test/b/0"):
            folder = tmp_path / name.replace(".", "_") / place.rpartition("/")[0]
            folder.mkdir(parents=True, exist_ok=True)
            paths.append(written(folder, f"{place[-1]}{Path(name).suffix}", content))
        for transform in transforms:
            np.testing.assert_array_equal(transform({"img_path": str(paths[0])})["img"], expected[..., ::-1], name)
        fitted = np.array(ImageOps.fit(Image.fromarray(expected), (8, 8), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        settings = {"type": "image_folder", "root": str(paths[0].parents[1]), "size": 8, "val_per_class": 1}
        for data in (build_data(**settings), build_final_data(settings)):
            for found in (*data.train_images, *data.val_images):
                np.testing.assert_array_equal(found.numpy(), fitted, name)
        (batch,) = read_batches(paths[:1], 10, 10, edge=10)
        mean, std = np.array([123.675, 116.28, 103.53], np.float32), np.array([58.395, 57.12, 57.375], np.float32)
        np.testing.assert_allclose(batch[0].transpose(1, 2, 0), (expected[1:11] - mean) / std, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "late PNG", "bytes TIFF", "XMP"])
def test_an_image_is_turned_upright_once_in_every_format(format, orientation, tmp_path):
    colours = rgb()
    stored = Image.fromarray(colours)
    tags = Image.Exif()
    tags[274] = orientation
    if format == "late PNG":  # the block may stand behind the pixels
        content = png(colours, 2, late=exif(orientation, ">"))
    elif format == "bytes TIFF":
        content = tiff(colours, 2, ">", {274: orientation})
    elif format == "XMP":
        xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'
        content = saved(stored, "PNG")
        content = content[:33] + png(colours, 2, chunks={b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + xmp.encode()})[33:]
    elif format == "TIFF":
        content = saved(stored, "TIFF", tiffinfo={274: orientation}, compression="tiff_lzw")
    else:
        content = saved(stored, format, exif=tags, **({"lossless": True} if format == "WEBP" else {"quality": 95}))
    upright = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 3), 7: lambda a: np.rot90(a.transpose(1, 0, 2), 2), 8: np.rot90,
    }  # fmt: skip
    expected = upright[orientation](colours)
    path = written(tmp_path, "a.jpg", content)
    image = read_image(path)
    assert image_size(path) == image.shape[:2] == expected.shape[:2]
    if format == "JPEG":  # with loss: as Pillow decodes and turns it
        expected = np.array(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    "block",
    [b"", b"junk", b"II*\0\xff\xff\xff\xff", exif(0), exif(9), exif(6)[:12], exif(1 << 15), exif(6).replace(b"\3\0", b"\2\0")],
)
def test_broken_exif_turns_nothing_and_makes_no_noise(block, tmp_path, capfd):
    colours = rgb()
    path = written(tmp_path, "a.png", png(colours, 2, chunks={b"eXIf": block}))
    jpeg = written(tmp_path, "a.jpg", saved(Image.fromarray(colours), "JPEG", exif=b"Exif\0\0" + block))
    with warnings.catch_warnings(record=True) as told:
        np.testing.assert_array_equal(read_image(path), colours)
        assert read_image(jpeg).shape == colours.shape
        assert image_size(path) == image_size(jpeg) == SIZE
    assert not told
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("setting", ["color_type", "imdecode_backend", "backend"])
def test_how_images_are_decoded_is_no_setting_of_a_pipeline(setting):
    with pytest.raises(DataError, match=f"LoadImage: {setting}: no such setting"):
        TRANSFORMS.build({"type": "gemnet.LoadImage", setting: "cv2"})


def test_photos_are_decoded_as_pillow_does_grey_cmyk_and_progressive_too(tmp_path):
    colours = rgb(40, 56)
    for mode in ("RGB", "L", "CMYK"):
        for progressive in (False, True):
            path = tmp_path / "a.jpg"
            Image.fromarray(colours).convert(mode).save(path, progressive=progressive)
            with Image.open(path) as image:
                assert image.mode == mode
                np.testing.assert_array_equal(read_image(path), np.array(image.convert("RGB")))
    flat = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # full magenta and yellow: red on paper
    assert (np.abs(read_image(saved(flat, "JPEG", quality=100)) - np.array([255.0, 0, 0])) <= 3).all()


def test_a_photo_without_a_word_on_its_size_is_read_whole_and_for_a_small_target_at_a_fraction(tmp_path):
    path = tmp_path / "a.jpg"
    tags = Image.Exif()
    tags[274] = 6
    Image.fromarray(rgb(400, 640)).save(path, exif=tags)
    assert read_image(path).shape == (640, 400, 3)
    assert read_image(path, at_least=(100, 100)).shape == (160, 100, 3)
    assert read_image(path, at_least=(160, 50)).shape == (160, 100, 3)
    assert read_image(path, at_least=(161, 50)).shape == (320, 200, 3)
    with Image.open(path) as image:
        image.draft("RGB", (160, 100))
        np.testing.assert_array_equal(read_image(path, at_least=(160, 100)), np.array(ImageOps.exif_transpose(image)))


def test_lab_ycbcr_and_premultiplied_alpha_are_what_they_stand_for(tmp_path):
    lightness, a, b = 60.0, 40.0, -30.0
    y = (lightness + 16) / 116
    xyz = np.array([0.9642, 1, 0.8249]) * [
        t**3 if t > 6 / 29 else (t - 4 / 29) * 3 * (6 / 29) ** 2 for t in (y + a / 500, y, y - b / 200)
    ]
    linear = (
        np.array([[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]])
        @ xyz
    )
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    stored = np.array([round(lightness * 255 / 100), 40, 256 - 30], np.uint8)
    assert np.abs(read_image(tiff(np.broadcast_to(stored, (4, 5, 3)), 8))[0, 0] - expected).max() < 1.5
    ycbcr = Image.fromarray(rgb()).convert("YCbCr")
    np.testing.assert_array_equal(read_image(tiff(np.array(ycbcr), 6, tags={530: 1})), np.array(ycbcr.convert("RGB")))
    half = np.array([100, 50, 0, 128], np.uint8)  # of a colour twice as bright
    seen = read_image(tiff(np.broadcast_to(half, (4, 5, 4)), 2, tags={338: 1}))[0, 0]
    assert np.abs(seen - np.array([227.0, 177, 127])).max() <= 1


def test_of_several_frames_the_first_is_read_which_is_said_once_and_without_mmengine(tmp_path):
    first, second = Image.new("RGB", (6, 4), "red"), Image.new("RGB", (6, 4), "blue")
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if format == "WEBP" else {}
        path = tmp_path / f"a.{format.lower()}"
        first.save(path, format, save_all=True, append_images=[second], **options)
        np.testing.assert_array_equal(read_image(path), np.array(first))
    code = (
        "import os, sys; from gemnet.images.pixels import read_image as read; [read(path) for path in sys.argv[1:]]\n"
        "if not os.fork(): read(sys.argv[1]); os._exit(0)\n"  # as a loader's worker
        "os.wait(); assert not [name for name in sys.modules if name.startswith('mmengine')]"
    )
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", code, *files], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert line == f"{files[0]}: an animation, or of several pages: of this and all such files, the first frame is taken"


def test_a_gif_with_a_transparent_background_is_laid_on_white(tmp_path):
    image = Image.new("P", (6, 4), 0)
    image.putpalette([200, 0, 0, 0, 90, 0])
    image.putpixel((2, 1), 1)
    expected = np.full((4, 6, 3), 255, np.uint8)
    expected[1, 2] = 0, 90, 0
    np.testing.assert_array_equal(read_image(saved(image, "GIF", transparency=0)), expected)


def test_palettes_with_alpha_are_laid_on_white():
    image = Image.fromarray(rgb()).quantize(16).convert("PA")
    image.putalpha(Image.new("L", image.size, 77))
    buffer = saved(image.convert("RGBA"), "PNG")
    colours = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(buffer), on_white(colours, np.full(SIZE, 77)))


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
VIDEO = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
BROKEN = {
    "empty.jpg": (b"", "not an image that can be decoded: it is empty; mend or remove it"),
    "text.jpg": (b"this is no image", "not an image that can be decoded; mend or remove it"),
    "zeros.png": (bytes(4000), "not an image that can be decoded; mend or remove it"),
    "cut.png": (MADE["rgb.png"][0][:200], "cut off|not an image that can be decoded"),
    "cut.jpg": (saved(Image.fromarray(rgb(64, 64)), "JPEG")[:900], "cut off"),
    "cut.webp": (MADE["rgb.webp"][0][:200], "not an image that can be decoded"),
    "cut.tif": (MADE["rgb.tif"][0][:100], "not an image that can be decoded|cut off"),
    "few_rows.tif": (tiff(rgb(), 2, tags={257: 20}), "cut off"),
    "cut.avif": (b"\0\0\0\x1cftypavif", "not an image that can be decoded"),
    "photo.jpg": (HEIC, "not an image that can be decoded: it is HEIC; convert it to JPEG or PNG"),
    "photo.HEIC": (HEIC, "it is HEIC; convert it to JPEG or PNG"),
    "film.mp4": (VIDEO, "it is a video; save its frames as JPEG or PNG"),
    "film.png": (VIDEO, "it is a video"),
    "film.avi": (b"RIFF\0\0\0\0AVI LIST", "it is a video"),
    "film.jpg": (b"\x1aE\xdf\xa3 matroska", "it is a video"),
    "raw.nef": (MADE["rgb.tif"][0], "a raw photo of a camera, which is not read; develop it to JPEG, PNG or TIFF"),
    "raw.tif": (tiff(rgb(), 2, tags={50706: 1}), "a raw photo of a camera"),
    "drawing.svg": (b'<?xml version="1.0"?>\n<!-- made -->\n<svg/>', "it is an SVG drawing; draw it to PNG"),
    "drawing.png": (b"<svg/>", "it is an SVG drawing"),
    "page.pdf": (b"%PDF-1.7 ...", "it is a document; save its pages as JPEG or PNG"),
    "page.jpg": (b"<!DOCTYPE html><html>not found</html>", "it is a web page, .*; fetch it again"),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1", r"a pointer of Git LFS .*; run `git lfs pull`"),
    "scan.jpg": (bytes(128) + b"DICM" + bytes(99), "it is a DICOM image; convert it"),
    "new.jpg": (b"\xff\x0a\0\0", "it is JPEG XL; convert it"),
    "array.png": (b"\x93NUMPY\1\0", "it is an array of NumPy; save it as PNG or TIFF"),
    "float_colour.tif": (tiff(rgb().astype(np.float32), 2), "a kind of TIFF that is not read; save it as JPEG, PNG"),
    "nan.tif": (tiff(np.full((4, 4), np.nan, np.float32)), "it has not one finite value"),
    "float64.tif": (tiff(np.zeros((4, 4))), "a kind of TIFF that is not read"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named_with_what_it_is_and_the_remedy(name, tmp_path):
    content, message = BROKEN[name]
    path = written(tmp_path, name, content)
    for read in (
        (read_image, image_size) if content[:4] not in (b"RIFF", b"\x89PNG", b"\xff\xd8\xff\xe0", b"II*\0") else (read_image,)
    ):
        with pytest.raises(DataError, match=f"^{path}: (.*{message})"):
            read(path)


@pytest.mark.parametrize("kind", ["FIFO", "device", "directory", "loop", "unreadable", "missing"])
def test_what_is_no_file_is_told_and_never_waited_for(kind, tmp_path):
    path = tmp_path / "x.jpg"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "unreadable":
        path.write_bytes(MADE["rgb.png"][0])
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read every file")
    told = {"loop": "Too many levels of symbolic links", "unreadable": "Permission denied", "missing": "No such file"}
    with pytest.raises(DataError, match=rf"x\.jpg: {told.get(kind, f'is a {kind}, not a file')}.*; mend or remove it"):
        read_image(path)


@pytest.mark.parametrize("name", ["a b'\"$.png", "ünï 图 عربي 🙂.png", "-n.png", "new\nline.png", os.fsdecode(b"\xff\xfe.png")])
def test_names_in_any_script_are_read_and_told(name, tmp_path):
    try:
        path = written(tmp_path, name, MADE["rgb.png"][0])
    except OSError as error:
        pytest.skip(f"this file system takes no such name ({error})")
    np.testing.assert_array_equal(read_image(path), MADE["rgb.png"][1])
    np.testing.assert_array_equal(read_image(str(path)), MADE["rgb.png"][1])
    path.write_bytes(b"junk")
    with pytest.raises(DataError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: not an image")


@pytest.mark.long
def test_a_photo_of_108_megapixels_is_read_and_a_bomb_is_not(tmp_path):
    with warnings.catch_warnings(record=True) as told:
        assert image_size(bilevel(12_000, 9_000)) == (9_000, 12_000)
        assert read_image(bilevel(12_000, 9_000)).shape == (9_000, 12_000, 3)
    assert not told
    assert MAX_PIXELS > 108_000_000
    for content in (bilevel(13_378, 13_378, False), bilevel(100_000, 100_000, False), bilevel(2**31 - 1, 2**31 - 1, False)):
        path = written(tmp_path, "bomb.png", content)
        with pytest.raises(DataError, match=r"bomb\.png: .*178,956,970.*; make it smaller"):
            read_image(path)


def bilevel(width: int, height: int, whole: bool = True) -> bytes:
    """A PNG of black, a few kilobytes; its pixels missing unless `whole`."""
    content = png(np.zeros((1, 1)), 0, 1)
    if whole:
        return saved(Image.new("1", (width, height)), "PNG")
    head = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]


def test_warnings_of_pillow_reach_no_user(tmp_path):
    palette = Image.fromarray(rgb()).quantize(8)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(8)))
    written(tmp_path, "tags.tif", tiff(rgb(), 2, tags={271: 5, 305: 70000, 33432: 3}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in tmp_path.iterdir():
            assert read_image(path).shape == (*SIZE, 3)
