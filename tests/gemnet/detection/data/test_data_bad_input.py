"""What people may have in a folder: each fault is a sentence that names it and the remedy, or is mended and counted."""

import json
import os

import numpy as np
import pytest
from made_detection import CLASSES, boxes_in, photo, photos, truth, voc, write_coco, write_csv, write_voc, write_yolo
from PIL import Image

from gemnet.core.errors import DataError
from gemnet.detection.data import check, prepare, table
from gemnet.detection.data import voc as voc_module

BOXES = truth(12)
ODD = ("a b", "a#b", 'it\'s "it"', "a,b;c", "ragnarök", "写真", "фото", "a&b<c>", "100%20", "%41", "x'y", "🦝")


@pytest.fixture
def folder(tmp_path):
    photos(tmp_path / "a", BOXES)
    return tmp_path / "a"


def refusal(folder):
    """The sentence by which `prepare` refuses a folder; the doctor has the same one, and nothing is written."""
    with pytest.raises(DataError) as error:
        prepare(folder, folder.parent / "work")
    assert check(folder).refused == tuple(str(error.value).splitlines())
    assert not (folder.parent / "work").exists()
    return str(error.value)


def test_a_folder_that_is_not_there_and_a_file_are_told(folder):
    assert "b: no such folder (from " in refusal(folder.parent / "b")
    assert "is a file, not a folder" in refusal(folder / "p000.jpg")


def test_an_empty_folder_is_told(tmp_path):
    (tmp_path / "a/.git").mkdir(parents=True)
    (tmp_path / "a/.git/config").touch()
    assert refusal(tmp_path / "a").endswith("the folder is empty; expected images and their labels")


def test_images_without_labels_are_told_with_what_was_expected(folder):
    (folder / "notes.txt").write_text("my photos, 2024 1 2 3 4\n")
    told = refusal(folder)
    assert "no labels were recognised; there are 12 images and 1 .txt" in told
    assert "COCO" in told
    assert "Pascal VOC" in told
    assert "data.yaml" in told
    assert "filename, class, xmin" in told


@pytest.mark.parametrize("kind", ["coco", "voc", "csv"])
def test_labels_of_another_set_are_told_with_the_first_images_that_are_missing(folder, kind):
    other = {f"other{name}": own for name, own in BOXES.items()}
    {"coco": lambda: write_coco(folder / "a.json", other), "voc": lambda: write_voc(folder, other),
     "csv": lambda: write_csv(folder / "a.csv", other)}[kind]()  # fmt: skip
    told = refusal(folder)
    assert "12 of its 12 images are not there, first otherp000.jpg" in told
    assert "fetch the images again" in told


def test_yolo_labels_of_another_set_are_told(folder):
    write_yolo(folder, {f"other{name}": own for name, own in BOXES.items()})
    assert "none of 12 images has a text file of its name" in refusal(folder)


def test_a_class_with_one_box_is_kept_and_told(folder, tmp_path):
    write_voc(folder, {**BOXES, "p000.jpg": [("rare", (1, 1, 20, 20))]})
    prepared = prepare(folder, tmp_path / "work")
    assert "rare" in prepared.classes
    assert any("1 of 3 classes have one box in all" in note and note.endswith(": rare") for note in prepared.notes)


def test_images_without_boxes_are_kept(folder, tmp_path):
    write_voc(folder, {name: own if name == "p000.jpg" else [] for name, own in BOXES.items()})
    prepared = prepare(folder, tmp_path / "work")
    assert sum(prepared.images.values()) == 12
    assert sum(prepared.boxes.values()) == len(BOXES["p000.jpg"])
    assert "no image of test has a box: it measures false alarms alone" in prepared.notes


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_background_alone_is_told(folder, kind):
    none = {name: [] for name in BOXES}
    {"coco": lambda: write_coco(folder / "a.json", none), "voc": lambda: write_voc(folder, none),
     "yolo": lambda: (write_yolo(folder, none), (folder / "data.yaml").write_text("names: [red]\nnc: 1"))}[kind]()  # fmt: skip
    assert "not one box" in refusal(folder)


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "csv"])
def test_names_with_spaces_signs_and_other_scripts_are_read(tmp_path, kind):
    odd = {f"{name}.jpg": own for name, own in zip(ODD, BOXES.values())}
    for index, name in enumerate(odd):
        photo(tmp_path / "a b#ü" / name, index)
    folder = tmp_path / "a b#ü"
    if kind == "voc":
        for name, own in odd.items():
            text = voc(name.replace("&", "&amp;").replace("<", "&lt;"), own)
            (folder / name).with_suffix(".xml").write_text(text, encoding="utf-8")
    else:
        write = {"coco": lambda: write_coco(folder / "a.json", odd), "yolo": lambda: write_yolo(folder, odd),
                 "csv": lambda: write_csv(folder / "a.csv", odd)}  # fmt: skip
        write[kind]()
    prepared = prepare(folder, tmp_path / "work")
    assert {name for images in boxes_in(prepared).values() for name in images} == set(odd)
    assert sum(prepared.boxes.values()) == sum(map(len, odd.values()))


def test_a_name_that_is_no_unicode_is_read_and_shown_without_acting_on_the_terminal(tmp_path):
    photos(tmp_path / "a", BOXES)
    path = os.fsencode(tmp_path / "a") + b"/caf\xe9\x1b[31m.jpg"
    os.rename(tmp_path / "a/p000.jpg", path)
    write_yolo(tmp_path / "a", {**{name: own for name, own in BOXES.items() if name != "p000.jpg"}})
    with open(path[:-3] + b"txt", "w") as file:
        file.write("0 .5 .5 .02 .02\n")
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    names = {name for images in boxes_in(prepared).values() for name in images}
    assert os.fsdecode(path).rpartition("/")[2] in names
    from gemnet.detection.data import as_text

    shown = as_text(check(tmp_path / "a"))
    assert "caf\\udce9\\x1b[31m.jpg" in shown
    assert shown.encode()


def test_xml_in_the_encoding_that_it_states_is_read_and_in_another_refused(folder, tmp_path):
    write_voc(folder, BOXES)
    stated = '<?xml version="1.0" encoding="{}"?>' + voc("p000.jpg", [("Käfer", (1, 1, 20, 20))])
    for encoding in ("latin-1", "utf-16", "gb18030"):
        (folder / "p000.xml").write_bytes(stated.format(encoding).encode(encoding))
        assert "Käfer" in prepare(folder, tmp_path / f"work {encoding}").classes
    (folder / "p000.xml").write_bytes(stated.format("utf-8").encode("latin-1"))
    assert "p000.xml: not in the encoding that it states, UTF-8 by default (at byte " in refusal(folder)
    (folder / "p000.xml").write_bytes(stated.format("klingon").encode())
    assert "unknown encoding: klingon" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "filename,class,xmin,ymin,xmax,ymax\np000.jpg,Käfer,1,1,20,20\n".encode("latin-1"), "not UTF-8 text at byte"),
        ("a.csv", "filename,class,xmin,ymin,xmax,ymax\np000.jpg,red,1,1,20,20\n".encode("utf-16"), "UTF-16 text, not UTF-8"),
        ("data.yaml", "names: [Käfer]\nnc: 1".encode("latin-1"), "not UTF-8 text at byte"),
        ("p000.txt", "0 .5 .5 .2 .2\n\xe4".encode("latin-1"), "not UTF-8 text at byte"),
        ("a.json", json.dumps({"images": [], "annotations": []}).encode() + b"\xe4", "save it as UTF-8"),
    ],
)
def test_text_in_another_encoding_is_refused_by_name_with_the_remedy(folder, name, content, told):
    if name.startswith(("p", "d")):
        write_yolo(folder, BOXES)
    (folder / name).write_bytes(content)
    refused = refusal(folder)
    assert name in refused
    assert told in refused
    assert "UTF-8" in refused


def test_a_truncated_image_in_every_split_is_left_out_and_told(tmp_path):
    for split, first in (("train", 0), ("valid", 12), ("test", 20)):
        boxes = truth(6, first)
        photos(tmp_path / "a" / split, boxes)
        write_voc(tmp_path / "a" / split, boxes)
        path = tmp_path / "a" / split / next(iter(boxes))
        path.write_bytes(path.read_bytes()[:-40])
    prepared = prepare(tmp_path / "a", tmp_path / "work")
    assert prepared.images == {"train": 5, "val": 5, "test": 5}
    told = next(note for note in prepared.notes if note.startswith("images that cannot be read, left out"))
    assert "fetch them again" in told
    for name in ("train/p000.jpg", "valid/p012.jpg", "test/p020.jpg"):
        assert f"{name}: cut off" in told


def test_a_split_of_broken_images_is_refused(folder):
    write_voc(folder, BOXES)
    for name in list(BOXES)[:7]:
        (folder / name).write_bytes(b"<html>404</html>")
    told = refusal(folder)
    assert "7 of 12 images cannot be read; fetch them again" in told
    assert "p000.jpg: not an image that can be decoded: it is a web page" in told


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp"])
def test_a_cut_off_image_of_another_format_is_found(folder, suffix):
    from gemnet.detection.data.scanning import facts

    path = photo(folder / f"x.{suffix}", 1)
    assert facts(str(path)).size == (64, 96)
    path.write_bytes(path.read_bytes()[:-100])
    assert facts(str(path)).size is None


def test_a_photo_of_12000_x_9000_pixels_is_read_and_told(folder, tmp_path):
    Image.fromarray(np.zeros((9000, 12000), np.uint8)).save(folder / "p000.jpg")
    text = voc("p000.jpg", [("red", (2000, 2000, 6000, 5000))], (12000, 9000))
    write_voc(folder, BOXES)
    (folder / "p000.xml").write_text(text)
    diagnosis = check(folder)
    assert diagnosis.image_sizes["width"] == (96, 96, 12000)
    assert [str(found) for found in diagnosis.doubtful if "25 megapixels" in found.kind and "p000.jpg" in found.first[0]]
    read = boxes_in(prepare(folder, tmp_path / "work"))
    assert [images["p000.jpg"] for images in read.values() if "p000.jpg" in images] == [[("red", [2000, 2000, 6000, 5000])]]


@pytest.mark.parametrize(
    "entity",
    [
        '<!DOCTYPE annotation [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE annotation [<!ENTITY % a SYSTEM "http://localhost/x.dtd"> %a;]>',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_in_xml_are_refused(folder, entity, encoding):
    write_voc(folder, BOXES)
    (folder / "p000.xml").write_bytes((entity + voc("&a;", BOXES["p000.jpg"])).encode(encoding))
    assert "p000.xml: declares entities, which are not read; remove its <!DOCTYPE ...>" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "broken XML"),
        (b"<annotation><object>", "broken XML"),
        (b"<annotation>" * 100_000, "broken XML"),
        (b"\xff\xfe\x00", "not in the encoding"),
    ],
)
def test_broken_xml_is_refused_by_name(folder, content, told):
    write_voc(folder, BOXES)
    (folder / "p000.xml").write_bytes(content)
    refused = refusal(folder)
    assert "p000.xml: " in refused
    assert told in refused


def test_deeply_nested_xml_is_read_without_harm(folder, tmp_path):
    write_voc(folder, BOXES)
    deep = "<x>" * 50_000 + "</x>" * 50_000
    (folder / "p000.xml").write_text(voc("p000.jpg", BOXES["p000.jpg"], more=deep))
    assert sum(prepare(folder, tmp_path / "work").images.values()) == 12


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "0x10", "", "ten", "1_0", "\u0661"])
def test_a_number_that_is_none_is_refused_by_file_object_and_value(folder, value):
    write_voc(folder, BOXES)
    path = folder / "p000.xml"
    path.write_text(path.read_text().replace("<xmin>4<", f"<xmin>{value}<"))
    told = refusal(folder)
    assert "boxes with a value that is not a finite number of pixels" in told
    assert "p000.xml, object 1" in told


def test_files_beyond_their_bounds_are_refused(folder, monkeypatch):
    write_csv(folder / "a.csv", BOXES)
    monkeypatch.setattr(table, "LARGEST", 100)
    assert "a.csv: larger than" in refusal(folder)
    (folder / "a.csv").unlink()
    write_voc(folder, BOXES)
    monkeypatch.setattr(voc_module, "LARGEST", 100)
    assert "p000.xml: larger than" in refusal(folder)


@pytest.mark.parametrize("row", ['"p000.jpg,red,1,1,2,2', "p" * 200_000])
def test_broken_csv_is_refused_by_file_and_line(folder, row):
    (folder / "a.csv").write_text(f"filename,class,xmin,ymin,xmax,ymax\n{row}\n")
    assert "a.csv: line " in refusal(folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("names: !!python/object/apply:os.system ['touch x']\nnc: 1", "broken YAML"),
        ("names: [a\nnc: 1", "broken YAML"),
        ("names: {0: a, 2: b}\nnc: 2", "expected 0, 1, 2, ... without gaps"),
        ("names: [a, a]\nnc: 2", "is there twice, or empty; expected a name of its own for each class"),
        ("names: [[a]]\nnc: 1", "expected a list of the names"),
        ("names: [red, blue]\ntrain: nowhere\nval: p", "train: 'nowhere' leads to no images"),
    ],
)
def test_a_data_yaml_that_means_nothing_is_refused_by_name(folder, content, told):
    write_yolo(folder, BOXES)
    (folder / "data.yaml").write_text(content)
    refused = refusal(folder)
    assert "data.yaml: " in refused
    assert told in refused


def test_yaml_that_grows_by_its_own_references_does_no_harm(folder):
    grown = [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    lines = ["a0: &a0 [x, x]", *grown, "names: *a59", "nc: 1"]
    write_yolo(folder, BOXES)
    (folder / "data.yaml").write_text("\n".join(lines))
    assert "expected a list of the names" in refusal(folder)


def test_two_files_with_boxes_of_the_same_images_are_refused(folder):
    write_coco(folder / "one.json", BOXES)
    write_coco(folder / "two.json", BOXES)
    told = refusal(folder)
    assert "one.json and two.json both have annotations of the image p000.jpg" in told
    assert "keep the one that counts" in told


def test_faults_of_all_splits_are_told_together(tmp_path):
    for split, first in (("train", 0), ("valid", 12), ("test", 20)):
        boxes = truth(4, first)
        photos(tmp_path / "a" / split, boxes)
        write_coco(tmp_path / "a" / split / "a.json", boxes, categories={name: i for i, name in enumerate(CLASSES, 1)})
        file = tmp_path / "a" / split / "a.json"
        content = json.loads(file.read_text())
        content["annotations"][0]["bbox"] = [1, 1, -3, 4]
        file.write_text(json.dumps(content))
    told = refusal(tmp_path / "a")
    assert told.count("boxes of negative width or height: 1, first annotations[0] (id 1): [1, 1, -3, 4]") == 3
