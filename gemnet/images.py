"""Images and folders of images, read as untrusted: what is missing or broken is named, with the remedy."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import mmcv
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.fileio import get
from PIL import Image, UnidentifiedImageError

from gemnet.errors import UserError
from gemnet.registry import DATASETS, TRANSFORMS

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
TOLD = 3


class DataError(UserError):
    """Data that is missing, broken or does not fit; the message names the file and the remedy."""


class EveryImageTested(BaseDataset):
    """A data set that replaces an image which its pipeline gives up, but only in training."""

    def prepare_data(self, index: int) -> Any:
        """An image through the pipeline; None, for another one to be taken, only in training."""
        data = super().prepare_data(index)
        if data is None and self.test_mode:
            path, where = self.get_data_info(index)["img_path"], self.ann_file or self.data_root
            raise DataError(f"{path}: cannot be used, and testing needs every image; mend it or take it out of {where}")
        return data


@DATASETS.register_module()
class ImageFolder(EveryImageTested):
    """Images in one folder a class: `data_root/split/class/*.jpg`. Classes are numbered by their sorted names.

    ImageNet is such a folder. Raises DataError where a folder is missing, has fewer than two classes, has a class without
    images, or other classes than `data_root/classes_of`. Files beside the folders, files that are no images and hidden ones
    are left out.
    """

    def __init__(self, data_root: str, split: str, classes_of: str = "train", **kwargs: Any) -> None:
        self.split, self.classes_of = split, classes_of
        super().__init__(data_root=data_root, serialize_data=True, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        root = Path(self.data_root)
        classes = folder_classes(root / self.classes_of)
        if len(classes) < 2:
            raise DataError(
                f"{root / self.classes_of}: {len(classes)} classes; expected a folder for each of two or more classes"
            )
        if self.split != self.classes_of:
            found = folder_classes(root / self.split)
            unknown, absent = sorted(set(found) - set(classes)), sorted(set(classes) - set(found))
            if unknown or absent:
                problems = [
                    f"{what} {', '.join(names[:TOLD])}" for what, names in (("has", unknown), ("lacks", absent)) if names
                ]
                told = f"{root / self.split} has other classes than {root / self.classes_of}"
                raise DataError(f"{told}: it {'; '.join(problems)}")
        self._metainfo["classes"] = tuple(classes)
        data = []
        for label, name in enumerate(classes):
            data += [{"img_path": str(file), "gt_label": label} for file in image_files(root / self.split / name)]
        return data


def image_files(folder: Path) -> list[Path]:
    """The sorted images in `folder` and the folders in it, without hidden ones and folders behind links.

    Raises DataError where there are none, or where a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise DataError(f"{error.filename}: this folder cannot be read ({error.strerror})") from error

    files = []
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".") and name.lower().endswith(SUFFIXES)]
    files.sort()
    if not files:
        raise DataError(f"{folder}: no images in this folder; expected files {' '.join(SUFFIXES)}")
    return files


def folder_classes(folder: Path) -> list[str]:
    """The sorted names of the classes' folders in `folder`. Raises DataError where it is missing."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder (from {Path.cwd()}); expected images as <data_root>/train/<class>/*.jpg and "
            "<data_root>/val/<class>/*.jpg; set *_dataloader.dataset.data_root"
        )
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


@TRANSFORMS.register_module(name=["LoadImageFromFile", "LoadImage"])  # the first: what OpenMMLab's tools look for
class LoadImage(LoadImageFromFile):
    """mmcv's LoadImageFromFile, which names an image that cannot be read, is cut off, or is not as large as annotated.

    on_error: 'raise' (DataError), or 'skip': the image is told, once an epoch by each loading process, and in training another
    one is taken; testing raises all the same (the data sets here), for its result would not be of the whole set.
    """

    def __init__(self, on_error: str = "raise", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if on_error not in ("raise", "skip"):
            raise DataError(f"LoadImage: on_error={on_error!r}: expected raise or skip")
        self.on_error = on_error
        self.told: set[str] = set()

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Add `img` [H, W, 3] in BGR and its shape to `results`; None where the image is to be skipped."""
        if "img" in results and "img_path" not in results:  # an array, as inferencers take them: loaded already
            results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
            return results
        path = results["img_path"]
        try:
            image = self._decode(get(path, backend_args=self.backend_args))
            annotated = (results.get("height", image.shape[0]), results.get("width", image.shape[1]))
            if annotated != image.shape[:2]:
                found, expected = ("x".join(map(str, shape)) for shape in (image.shape[:2], annotated))
                raise DataError(f"is {found} pixels high and wide, but annotated as {expected}")
        except DataError as error:
            problem = str(error)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        else:
            results["img"] = image
            results["img_shape"] = results["ori_shape"] = image.shape[:2]
            return results
        if self.on_error == "raise":
            raise DataError(f"{path}: {problem}; mend or remove it, or set on_error='skip' in the pipeline")
        if path not in self.told:
            print(f"{path}: {problem}; skipped", file=sys.stderr, flush=True)
        self.told.add(path)
        return None

    def _decode(self, content: bytes) -> Any:
        try:
            image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        except Exception as error:  # OpenCV's own, and whatever a backend raises on rubbish
            raise DataError(f"not an image that can be decoded ({type(error).__name__})") from error
        if image is None:
            raise DataError("not an image that can be decoded")
        if content[:2] == b"\xff\xd8" and b"\xff\xd9" not in content[-1024:]:  # a JPEG without its end: OpenCV fills with grey
            try:
                Image.open(io.BytesIO(content)).load()
            except (OSError, UnidentifiedImageError) as error:
                raise DataError(f"cut off ({error})") from error
        return image.astype("float32") if self.to_float32 else image
