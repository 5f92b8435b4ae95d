"""A reader of the documentation: a working directory with small stand-ins for data, in which a page's commands are run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import doc_commands
import torch
from doc_commands import Line
from doc_examples import ROOT, Block, working_directory
from made_folders import write_folder

import gemnet
from gemnet.weights import convert

CLASS_FOLDERS = {"README.md": "pictures", "docs/search.md": "photos"}
"""Pages which search on pictures of their own, and the folder that has a folder a class."""


class Searches:
    """The work directories of searches that pages start, by command: each is run once for all pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, Path] = {}

    def run(self, line: Line, place: str) -> None:
        """Run a search, which has its work directory in `place`, or copy what an earlier page's left."""
        name = str(doc_commands.short(line))
        if name not in self.known:
            assert doc_commands.run(line) == 0, str(line)
            self.known[name] = self.folder / str(len(self.known))
            shutil.copytree(place, self.known[name])
        elif not Path(place).exists():
            shutil.copytree(self.known[name], place)


class Reader:
    """Runs a page's commands in `folder`, where the repository's configs and tools and stand-ins for what it reads lie."""

    def __init__(self, page: str, folder: Path, searches: Searches) -> None:
        self.folder, self.searches = folder, searches
        text = (ROOT / page).read_text(encoding="utf-8")
        link_repository(folder)
        (folder / "docs").mkdir()
        (folder / "docs/results").symlink_to(ROOT / "docs/results")
        photos = write_folder(folder / "photos")
        if page in CLASS_FOLDERS:
            pictures = folder / CLASS_FOLDERS[page]
            if pictures != photos:
                write_folder(pictures)
            for split in ("train", "val"):
                shutil.copytree(pictures / split, pictures, dirs_exist_ok=True)
                shutil.rmtree(pictures / split)
        write_folder(folder / "data/imagenet", (("train", 128 if "--calibration" in text else 4), ("val", 2)))
        if "gemnet detect" in text or "tools/detect.py" in text:
            write_boxes(photos)
            shutil.copytree(next(photos.rglob("dark")), folder / "more_photos")
        if "gemnet_a_imagenet/epoch_300.pth" in text:
            write_checkpoint(folder / "work_dirs/gemnet_a_imagenet/epoch_300.pth")
        if "work_dirs/digits" in text:
            with working_directory(folder):
                searches.run(Line((), ("gemnet", "search")), "work_dirs/digits")

    def shell(self, block: Block) -> None:
        """Run a block's lines, short; the page is run in the working directory. Raises AssertionError where one fails."""
        for line in doc_commands.lines(block):
            name, arguments = doc_commands.command_of(line) or ("", [])
            if name == "search" and (place := doc_commands.work_dir(arguments)):
                self.searches.run(line, place)
            else:
                assert doc_commands.run(line) == 0, f"line {block.line}: {line}"


def link_repository(folder: Path) -> None:
    """Let `folder` have the configs and tools of the repository."""
    for name in ("configs", "tools"):
        (folder / name).symlink_to(ROOT / name)


def write_boxes(folder: Path) -> None:
    """Annotations in COCO's form of all pictures below `folder`, a box each, of the class that their folder names."""
    files = sorted(folder.rglob("*.png"))
    classes = sorted({file.parent.name for file in files})
    images, annotations = [], []
    for number, file in enumerate(files, 1):
        images.append({"id": number, "file_name": str(file.relative_to(folder)), "width": 40, "height": 32})
        box = {"category_id": classes.index(file.parent.name) + 1, "bbox": [4, 4, 24, 20], "area": 480, "iscrowd": 0}
        annotations.append({"id": number, "image_id": number, **box})
    categories = [{"id": place, "name": name} for place, name in enumerate(classes, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")


def write_checkpoint(path: Path) -> None:
    """Random weights of GEMNet-A in the form in which a training with mmpretrain leaves them."""
    path.parent.mkdir(parents=True)
    weights = path.with_name("random.pth")
    torch.save(gemnet.gemnet_a().state_dict(), weights)
    convert(weights, path, "mmpretrain")
