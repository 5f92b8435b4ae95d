"""Data sets for proxy training: what is drawn, what is decoded, what is refused."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from search.core.types import SearchError
from search.evaluation.data import ProxyData, build_data


def rows(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def write_image(path: Path, grey: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey // 2, 255 - grey)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six images; each image has a colour of its own."""
    for c, name in enumerate(("cat", "dog")):
        for i in range(6):
            write_image(tmp_path / name / f"{i}.png", 100 * c + 10 * i)
    return tmp_path


def same(a: ProxyData, b: ProxyData) -> bool:
    parts = ("train_images", "train_labels", "val_images", "val_labels")
    return all(torch.equal(getattr(a, part), getattr(b, part)) for part in parts)


def test_digits_are_the_images_of_scikit_learn_scaled_to_grey_levels():
    from sklearn.datasets import load_digits

    data = build_data("digits", train_per_class=100, val_per_class=74)
    bunch = load_digits()
    label_of = {np.rint(image / 16 * 255).astype(np.uint8).tobytes(): label for image, label in zip(bunch.images, bunch.target)}
    assert data.train_images.shape == (1000, 1, 8, 8)
    assert data.train_images.dtype == torch.uint8
    for images, labels in ((data.train_images, data.train_labels), (data.val_images, data.val_labels)):
        assert [label_of[row] for row in rows(images)] == labels.tolist()


def test_training_and_validation_images_are_disjoint_and_balanced():
    data = build_data("digits", train_per_class=30, val_per_class=20)
    assert torch.bincount(data.train_labels).tolist() == [30] * 10
    assert torch.bincount(data.val_labels).tolist() == [20] * 10
    assert not set(rows(data.train_images)) & set(rows(data.val_images))
    everything = build_data("digits", train_per_class=None, val_per_class=20)
    assert len(everything.train_labels) == 1797 - 200


def test_the_seed_decides_the_draw():
    settings = {"train_per_class": 30, "val_per_class": 20}
    assert same(build_data("digits", seed=3, **settings), build_data("digits", seed=3, **settings))
    assert not same(build_data("digits", seed=3, **settings), build_data("digits", seed=4, **settings))


def test_validation_images_do_not_depend_on_the_number_of_training_images():
    few, many = (build_data("digits", train_per_class=n, val_per_class=20) for n in (10, 100))
    assert torch.equal(few.val_images, many.val_images)


def test_mean_and_std_are_those_of_the_training_images(folder):
    data = build_data("image_folder", root=folder, size=8, val_per_class=2)
    pixels = data.train_images.permute(1, 0, 2, 3).flatten(1).double()
    assert data.mean == pytest.approx(pixels.mean(1).tolist())
    assert data.std == pytest.approx(pixels.std(1, correction=0).tolist())


def test_a_constant_channel_has_a_std_to_divide_by(tmp_path):
    for name in "ab":
        for i in range(3):
            write_image(tmp_path / name / f"{i}.png", 50)
    assert build_data("image_folder", root=tmp_path, val_per_class=1).std == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("type", "settings", "message"),
    [
        ("mnist", {}, "unknown data 'mnist'; expected one of digits, cifar10, image_folder"),
        ("digits", {"size": 3}, "data: unknown setting 'size'; expected one of train_per_class, val_per_class, seed"),
        ("digits", {"val_per_class": 0}, "val_per_class: expected a whole number from 1, found 0"),
        ("digits", {"train_per_class": 2.5}, "train_per_class: expected a whole number from 1, or None, found 2.5"),
        ("digits", {"seed": -1}, "seed: expected a whole number from 0, found -1"),
        ("digits", {"val_per_class": 174}, "class '8' has 174 images; expected more than val_per_class=174"),
        ("cifar10", {"fraction": 0}, "data: fraction: expected a number above 0 to below 1, found 0"),
        ("image_folder", {}, "data: setting 'root' is missing: folder with one folder of images a class; expected a path"),
        ("image_folder", {"root": ".", "size": "big"}, "size: expected a whole number from 1, found 'big'"),
    ],
)
def test_wrong_settings_are_named(type, settings, message):
    with pytest.raises(SearchError) as caught:
        build_data(type, **settings)
    assert message in str(caught.value)


class MadeCifar10:
    """What torchvision's class gives, with 20 images a class instead of 5,000."""

    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert train
        rng = np.random.default_rng(0)
        self.data = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
        self.targets = [i % 10 for i in range(200)]


def test_cifar10_takes_a_fraction_of_the_training_part(monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", MadeCifar10)
    data = build_data("cifar10", root="anywhere", fraction=0.25, val_per_class=4)
    assert torch.bincount(data.train_labels).tolist() == [5] * 10
    assert torch.bincount(data.val_labels).tolist() == [4] * 10
    source = MadeCifar10("", True, False)
    label_of = {image.transpose(2, 0, 1).tobytes(): label for image, label in zip(source.data, source.targets)}
    assert [label_of[row] for row in rows(data.train_images)] == data.train_labels.tolist()
    assert data.classes == MadeCifar10.classes


def test_missing_cifar10_says_where_to_put_it(tmp_path):
    with pytest.raises(SearchError, match=r"set download=True, or unpack https://\S+cifar-10-python.tar.gz in ") as caught:
        build_data("cifar10", root=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_cifar10_without_a_network_says_how_to_do_without(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(SearchError, match=r"without a network, unpack .* and set download=False"):
        build_data("cifar10", root=tmp_path, download=True)


def test_a_folder_gives_colour_images_with_the_classes_sorted_by_name(folder):
    data = build_data("image_folder", root=folder, size=4, val_per_class=2)
    assert data.classes == ("cat", "dog")
    assert data.train_images.shape == (8, 3, 4, 4)
    for images, labels in ((data.train_images, data.train_labels), (data.val_images, data.val_labels)):
        for image, label in zip(images, labels):
            grey = int(image[0, 0, 0])
            assert grey // 100 == label
            assert (image == torch.tensor([grey, grey // 2, 255 - grey]).view(3, 1, 1)).all()
    assert not set(rows(data.train_images)) & set(rows(data.val_images))


def test_a_folder_is_limited_per_class(folder):
    data = build_data("image_folder", root=folder, train_per_class=3, val_per_class=2)
    assert torch.bincount(data.train_labels).tolist() == [3, 3]


def test_the_largest_centred_square_is_taken(tmp_path):
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    for name in "ab":
        for i in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    assert (build_data("image_folder", root=tmp_path, size=10, val_per_class=1).train_images == 200).all()


def test_images_of_other_modes_become_colour_and_what_is_transparent_white(tmp_path):
    grey16 = np.full((8, 8), 128 * 256, np.uint16)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(grey16).save(tmp_path / name / "sixteen_bits.png")
        Image.new("L", (8, 8), 128).save(tmp_path / name / "grey.bmp")
        Image.new("RGBA", (8, 8), (128, 0, 0, 0)).save(tmp_path / name / "alpha.PNG")
        palette.save(tmp_path / name / "palette.png", transparency=1)
    data = build_data("image_folder", root=tmp_path, size=8, train_per_class=3, val_per_class=1)
    values = [tuple(image[:, 0, 0].tolist()) for image in torch.cat([data.train_images, data.val_images])]
    assert sorted(values) == [(128, 128, 128)] * 4 + [(255, 255, 255)] * 4


def test_stray_files_are_ignored(folder):
    before = build_data("image_folder", root=folder, val_per_class=2)
    write_image(folder / "loose.png", 7)
    write_image(folder / ".cache" / "thumb.png", 7)
    write_image(folder / "cat" / "._0.png", 7)
    (folder / "cat" / "notes.txt").write_text("six cats")
    (folder / "cat" / "Thumbs.db").write_bytes(b"\0")
    assert same(before, build_data("image_folder", root=folder, val_per_class=2))


def test_images_deeper_in_a_class_folder_count(folder):
    write_image(folder / "dog" / "images" / "deep.JPEG", 180)
    data = build_data("image_folder", root=folder, val_per_class=2)
    assert torch.bincount(data.train_labels).tolist() == [4, 5]


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 30,000 x 30,000 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, bomb()])
def test_an_unreadable_image_is_named_or_skipped_and_counted(folder, content):
    bad = folder / "cat" / "0.png"
    bad.write_bytes(content)
    with pytest.raises(SearchError, match=r"; (mend or remove it|make it smaller), or set skip_unreadable=True") as caught:
        build_data("image_folder", root=folder, val_per_class=2)
    assert str(bad) in str(caught.value)
    data = build_data("image_folder", root=folder, val_per_class=2, skip_unreadable=True)
    assert data.skipped == 1
    assert len(data.train_labels) + len(data.val_labels) == 11


def test_a_truncated_image_is_unreadable(folder):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = folder / "dog" / "0.jpg"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SearchError, match=r"0\.jpg: cut off .*; mend or remove it, or set skip"):
        build_data("image_folder", root=folder, val_per_class=2)


def test_a_class_of_unreadable_images_is_refused(folder):
    for path in (folder / "cat").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(SearchError, match=r"no image drawn from '.*cat' can be read"):
        build_data("image_folder", root=folder, val_per_class=2, skip_unreadable=True)


def test_folders_without_two_classes_of_images_are_refused(tmp_path):
    with pytest.raises(SearchError, match=r"missing' cannot be read: No such file .*; expected root/<class>/<image>"):
        build_data("image_folder", root=tmp_path / "missing")
    with pytest.raises(SearchError, match="holds nothing to train on"):
        build_data("image_folder", root=tmp_path)
    write_image(tmp_path / "loose.png", 3)
    with pytest.raises(SearchError, match="holds 1 images but no class folder"):
        build_data("image_folder", root=tmp_path)
    with pytest.raises(SearchError, match="Not a directory"):
        build_data("image_folder", root=tmp_path / "loose.png")
    write_image(tmp_path / "cat" / "0.png", 3)
    with pytest.raises(SearchError, match="one class only, 'cat'; expected at least two"):
        build_data("image_folder", root=tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(SearchError, match="class 'cat' has 1 images; expected more than val_per_class=20"):
        build_data("image_folder", root=tmp_path)
