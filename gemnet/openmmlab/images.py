"""Images and folders of images in MMEngine's pipelines: what is missing or broken is named, with the remedy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.fileio import get

from gemnet.core.errors import DataError
from gemnet.images.folders import class_images, folder_classes, image_files
from gemnet.images.pixels import ImageError, read_image
from gemnet.openmmlab.registry import DATASETS, TRANSFORMS

__all__ = ["TOLD", "DataError", "EveryImageTested", "ImageFolder", "LoadImage", "folder_classes", "image_files"]
TOLD = 3


class EveryImageTested(BaseDataset):
    """A data set that replaces an image which its pipeline gives up, but only in training."""

    def prepare_data(self, index: int) -> Any:
        """An image through the pipeline; None, for another one to be taken, only in training."""
        try:
            data = super().prepare_data(index)
        except DataError as error:
            if isinstance(error.__cause__, ImageError) and not self.test_mode:
                raise DataError(f"{error}, or set on_error='skip' in the pipeline") from error
            raise
        if data is None and self.test_mode:
            path, where = self.get_data_info(index)["img_path"], self.ann_file or self.data_root
            raise DataError(f"{path}: cannot be used, and testing needs every image; mend it or take it out of {where}")
        return data


@DATASETS.register_module()
class ImageFolder(EveryImageTested):
    """Images in one folder a class: `data_root/split/class/*.jpg`. Classes are numbered by their sorted names.

    ImageNet is such a folder. Raises DataError where a folder is missing, has fewer than two classes, has a class without
    images, or other classes than `data_root/classes_of`. Files beside the folders and hidden ones are left out; files that
    are no images, or of formats that are not read, are told.
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
        images = class_images(root / self.split, classes)
        return [{"img_path": str(file), "gt_label": label} for label, files in enumerate(images) for file in files]


@TRANSFORMS.register_module(name=["LoadImageFromFile", "LoadImage"])  # the first: what OpenMMLab's tools look for
class LoadImage(LoadImageFromFile):
    """Loads an image through `gemnet.images.pixels.read_image`, as search and prediction do.

    on_error: what becomes of an image that cannot be read, or is not as large as annotated. 'raise' (DataError), or 'skip': the
    image is told, once an epoch by each loading process, and in training another one is taken; testing raises all the same (the
    data sets here), for its result would not be of the whole set. to_float32, backend_args (of files elsewhere): as mmcv's.
    """

    def __init__(
        self, on_error: str = "raise", to_float32: bool = False, backend_args: dict[str, Any] | None = None, **unknown: Any
    ) -> None:
        if unknown:
            raise DataError(
                f"LoadImage: {', '.join(unknown)}: no such setting, for gemnet decides how images are decoded; expected"
                " on_error, to_float32, backend_args"
            )
        super().__init__(to_float32=to_float32, backend_args=backend_args, imdecode_backend="pillow")
        if on_error not in ("raise", "skip"):
            raise DataError(f"LoadImage: on_error={on_error!r}: expected raise or skip")
        self.on_error = on_error
        self.told: set[str] = set()

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Add `img` [H, W, 3] in BGR and its shape to `results`; None where the image is to be skipped."""
        if "img" in results and "img_path" not in results:  # an array, as inferencers take them: loaded already
            results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
            return results
        path = str(results["img_path"])
        try:
            image = self._read(path)
            annotated = (results.get("height", image.shape[0]), results.get("width", image.shape[1]))
            if annotated != image.shape[:2]:
                found, expected = ("x".join(map(str, shape)) for shape in (image.shape[:2], annotated))
                problem = f"is {found} pixels high and wide, but annotated as {expected}"
                raise ImageError(f"{path}: {problem}; mend or remove it", problem)
        except ImageError as error:
            if self.on_error == "raise":
                raise DataError(str(error)) from error
            if path not in self.told:
                print(f"{path}: {error.problem}; skipped", file=sys.stderr, flush=True)
            self.told.add(path)
            return None
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def _read(self, path: str) -> np.ndarray:
        """[H, W, 3] in BGR, uint8 or float32."""
        if self.backend_args is None and "://" not in path:
            image = read_image(path)
        else:
            try:
                content = get(path, backend_args=self.backend_args)
            except OSError as error:
                problem = error.strerror or type(error).__name__
                raise ImageError(f"{path}: {problem}; mend or remove it", problem) from error
            image = read_image(content, name=path)
        image = np.ascontiguousarray(image[..., ::-1])
        return image.astype(np.float32) if self.to_float32 else image
