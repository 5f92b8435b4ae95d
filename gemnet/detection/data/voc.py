"""Pascal VOC: an XML file an image, read as untrusted, with split lists in ImageSets/Main or without."""

from __future__ import annotations

import codecs
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemnet.annotations.findings import number, plain_name, whole_number
from gemnet.core.errors import DataError
from gemnet.core.files import open_regular
from gemnet.detection.data.listing import Listing
from gemnet.detection.data.parallel import mapped
from gemnet.detection.data.sources import Builder, ImageFinder, Source, corners_box, folder_of, split_of_folders
from gemnet.detection.data.text_files import lines_of

LARGEST = 1 << 24
"""Bytes of an XML file; more are not read."""
CORNERS = ("xmin", "ymin", "xmax", "ymax")
IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "imgs")
"""Beside the folder of labels, where images may lie."""


@dataclass
class Annotation:
    """What an XML file holds. Values are numbers where they are that, else texts.

    problem: Why it could not be read; "" where it is no annotation at all; None where it could.
    """

    filename: str = ""
    size: tuple[Any, Any] = (None, None)
    objects: list[tuple[str | None, list[Any] | None, bool]] = field(default_factory=list)
    problem: str | None = None


def read_voc(listing: Listing) -> Source:
    """Read all annotations in XML. Raises DataError that names a file that cannot be read, or a list that fits no file."""
    source = Source()
    files = listing.with_suffix(".xml")
    found = dict(zip(files, mapped(read_annotation, [str(listing.path(name)) for name in files])))
    broken = [f"{listing.path(name)}: {entry.problem}" for name, entry in found.items() if entry.problem]
    if broken:
        more = f"\nand {len(broken) - 3} more" if len(broken) > 3 else ""
        raise DataError("\n".join(broken[:3]) + more)
    labels = {name: entry for name, entry in found.items() if entry.problem is None}
    if len(labels) < len(files):
        source.told.append(f"{len(files) - len(labels)} XML files are no annotations of objects, passed over")
    finder = ImageFinder(listing, source.notes)
    classes: dict[str, int] = {}
    builders: list[tuple[str | None, Builder]] = []
    taken: set[str] = set()
    for split, names in _splits(listing, labels, source).items():
        builder = Builder(f"{listing.root}{'' if split is None else f' ({split})'}", classes)
        for name in names:
            taken |= _add(builder, name, labels[name], finder, source)
        builders.append((split, builder))
    for split, builder in builders:
        source.add(split, builder.part())
    unlabelled = [image for image in listing.images if image not in taken]
    if unlabelled:
        source.told.append(
            f"{len(unlabelled)} images without an XML file in a split, left out, first {unlabelled[0]}; an XML file without "
            "objects makes an image one without boxes"
        )
    return source


def _add(builder: Builder, name: str, label: Annotation, finder: ImageFinder, source: Source) -> set[str]:
    folder, stem = folder_of(name), name.rpartition("/")[2].rpartition(".")[0]
    above = folder_of(folder)
    folders = [folder, *(f"{above}/{other}".lstrip("/") for other in IMAGE_FOLDERS), above]
    image = finder.beside(stem, folders)
    given = label.filename.replace("\\", "/").rpartition("/")[2]
    if image is None:
        image = finder.named(given or stem, folders, name)
    elif given and given != image.rpartition("/")[2] and given.rpartition(".")[0] != stem:
        source.notes.add("XML files that name another image than the one of their own name, which is taken", name, given)
    own = builder.add_image(image or given or stem, name, *label.size)
    for index, (cls, corners, ignored) in enumerate(label.objects, 1):
        place = f"{name}, object {index}"
        box = None if corners is None else corners_box(corners, source.notes, place)
        if cls is None or not cls.strip():
            source.refused.add("objects without a name", place, cls)
            continue
        if ignored:
            source.notes.add("objects marked 'difficult', neither trained on nor counted", place, cls)
        builder.add_box(own, plain_name(cls), box, place, ignored)
    return {image} if image else set()


def _splits(listing: Listing, labels: Mapping[str, Annotation], source: Source) -> dict[str | None, list[str]]:
    """The label files of each split: by lists, else by folders."""
    listed = _listed(listing, labels, source)
    if listed:
        left = len(labels) - len({name for names in listed.values() for name in names})
        if left:
            source.told.append(f"{left} XML files are in no split list, left out")
        return listed
    found: dict[str | None, list[str]] = {}
    for name in labels:
        found.setdefault(split_of_folders(name), []).append(name)
    if None in found and len(found) > 1:
        loose = found.pop(None)
        source.told.append(f"{len(loose)} XML files lie in no folder of a split, left out, first {loose[0]}")
    return found


def _listed(listing: Listing, labels: Mapping[str, Annotation], source: Source) -> dict[str | None, list[str]]:
    """By split, what `train.txt`, `val.txt` and `test.txt` name; `trainval.txt` counts where there is no `train.txt`."""
    lists: dict[str, dict[str, str]] = {}
    for name in listing.with_suffix(".txt"):
        base = name.rpartition("/")[2].lower()
        if base in ("train.txt", "val.txt", "test.txt", "trainval.txt"):
            lists.setdefault(folder_of(name), {})[base] = name
    names = Counter(name.rpartition("/")[2].rpartition(".")[0] for name in labels)
    by_stem = {name.rpartition("/")[2].rpartition(".")[0]: name for name in labels}
    found: dict[str | None, list[str]] = {}
    for folder, files in lists.items():
        whole = "train.txt" not in files
        tree = re.sub(r"(^|/)ImageSets(/.*)?$", "", folder)
        for base, split in (("train.txt", "train"), ("trainval.txt", "train"), ("val.txt", "val"), ("test.txt", "test")):
            if base not in files or (base == "trainval.txt") is not (whole and split == "train"):
                continue
            if base == "val.txt" and whole and "trainval.txt" in files:
                continue
            for line in lines_of(listing.path(files[base])):
                stem = re.sub(r"\.(xml|jpe?g|png|bmp)$", "", line.split("\t")[0].strip(), flags=re.IGNORECASE)
                stem = stem if stem in by_stem else re.sub(r"\s+-?1$", "", stem)
                stem = stem.replace("\\", "/").rpartition("/")[2]
                own = f"{tree}/Annotations/{stem}.xml".lstrip("/")
                if own in labels:
                    found.setdefault(split, []).append(own)
                elif names[stem] == 1:
                    found.setdefault(split, []).append(by_stem[stem])
                else:
                    source.notes.add("lines of split lists that no XML file has the name of, left out", files[base], line)
    return {split: list(dict.fromkeys(entries)) for split, entries in found.items()}


def read_annotation(path: str) -> Annotation:
    """Read an XML file. Entities are refused, so that none can grow or name another file."""
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        return Annotation(problem=f"cannot be read ({error.strerror})")
    if len(content) > LARGEST:
        return Annotation(problem=f"larger than {LARGEST >> 20} MiB; expected the boxes of one image")
    try:
        text = decoded(content)
    except (UnicodeError, LookupError) as error:
        reason = f"at byte {error.start}" if isinstance(error, UnicodeDecodeError) else str(error)
        return Annotation(problem=f"not in the encoding that it states, UTF-8 by default ({reason}); save it as UTF-8")
    if "<!ENTITY" in text:
        return Annotation(problem="declares entities, which are not read; remove its <!DOCTYPE ...>")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        return Annotation(problem=f"broken XML ({error}); mend or remove it")
    if root.tag != "annotation":
        return Annotation(problem="")
    found = Annotation((root.findtext("filename") or "").strip())
    width, height = root.findtext("size/width"), root.findtext("size/height")
    whole = (whole_number(width), whole_number(height))
    found.size = (width, height) if None in whole else whole
    for entry in root.iter("object"):
        box = entry.find("bndbox")
        corners = None if box is None else [_number(box.findtext(key)) for key in CORNERS]
        ignored = (entry.findtext("difficult") or "").strip().lower() in ("1", "true")
        found.objects.append((entry.findtext("name"), corners, ignored))
    return found


def _number(text: str | None) -> Any:
    """Of what is a number the number; else the text."""
    value = number(text)
    return text if value is None else value


def decoded(content: bytes) -> str:
    """The text of an XML file, by its byte-order mark, else by the encoding that its first line states, else UTF-8."""
    marks: Sequence[tuple[bytes, str]] = (
        (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"),
    )  # fmt: skip
    encoding = next((name for mark, name in marks if content.startswith(mark)), None)
    if encoding is None:
        stated = re.match(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""", content)
        encoding = stated[1].decode() if stated else "utf-8"
        if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):  # states it, but is read here byte by byte
            encoding = "utf-8"
    return content.decode(encoding)
