"""The doctor: what a look at a data set tells, in the terminal and on a page."""

import html
import json
import re
import shutil

import pytest
from made_detection import CLASSES, SIZE, photo, photos, truth, voc, write_coco, write_voc
from PIL import Image

from gemnet.detection.data import as_text, check, write_page

SPLITS = {"train": truth(30), "val": truth(6, 30), "test": truth(6, 36)}


@pytest.fixture
def folder(tmp_path):
    for split, boxes in SPLITS.items():
        photos(tmp_path / "my photos" / split, boxes)
        write_voc(tmp_path / "my photos" / split, boxes)
    return tmp_path / "my photos"


def change(folder, split, boxes):
    write_voc(folder / split, boxes)


def doubts(folder):
    """kind -> its count and first entries."""
    return {found.kind: (found.count, found.first) for found in check(folder).doubtful}


def doubt(folder, words):
    found = [entry for kind, entry in doubts(folder).items() if words in kind]
    assert len(found) == 1, doubts(folder)
    return found[0]


def test_a_healthy_set_is_counted_and_has_no_doubts_but_few_boxes(folder):
    diagnosis = check(folder)
    assert diagnosis.healthy
    assert diagnosis.format == "voc"
    assert diagnosis.own_splits == ("train", "val", "test")
    assert diagnosis.classes == CLASSES
    assert diagnosis.images == {"train": 30, "val": 6, "test": 6}
    assert diagnosis.without_boxes == {"train": 3, "val": 0, "test": 1}
    for split, boxes in SPLITS.items():
        counted = [sum(label == name for own in boxes.values() for label, _ in own) for name in CLASSES]
        assert list(diagnosis.boxes[split]) == counted
    assert diagnosis.image_sizes == {"width": (96,) * 3, "height": (64,) * 3}
    assert [found.kind for found in diagnosis.doubtful] == ["classes with fewer than 20 boxes to train on"]
    assert not diagnosis.refused
    assert not diagnosis.mended


def test_the_sides_of_boxes_are_those_in_the_image_as_the_detector_sees_it(folder):
    sides = check(folder).box_sides
    small, large = (24 * 16) ** 0.5 * 320 / 96, 32 * 320 / 96
    assert sides[CLASSES.index("blue")] == pytest.approx((small,) * 3)
    assert sides[CLASSES.index("red")][0] == pytest.approx(small)
    assert sides[CLASSES.index("red")][2] == pytest.approx(large)


def test_boxes_that_are_tiny_when_resized_are_told(folder):
    photo(folder / "train/p000.jpg", 0, (960, 640))
    boxes = [("red", (10, 10, 20, 20)), ("blue", (10, 10, 30, 30))]
    (folder / "train/p000.xml").write_text(voc("p000.jpg", boxes, (960, 640)))
    count, first = doubt(folder, "boxes smaller than 8x8 pixels when the image is resized to 320")
    assert count == 1
    assert first == ["train/p000.jpg: [10.0, 10.0, 20.0, 20.0]"]


def test_boxes_of_one_class_on_the_same_object_are_told(folder):
    box = (4, 8, 24, 16)
    change(folder, "train", {"p000.jpg": [("red", box), ("red", (5, 8, 24, 16)), ("red", (40, 8, 24, 16)), ("blue", box)]})
    count, first = doubt(folder, "marked twice")
    assert count == 1
    assert "train/p000.jpg (train): [[4.0, 8.0, 24.0, 16.0], [5.0, 8.0, 24.0, 16.0]]" in first


def test_copies_between_splits_are_told_exact_ones_and_near_ones(folder):
    shutil.copy(folder / "train/p000.jpg", folder / "test/p036.jpg")
    Image.open(folder / "train/p001.jpg").resize((90, 60)).resize(SIZE).save(folder / "val/p030.jpg", quality=40)
    assert doubt(folder, "exact copies of images in two splits") == (1, ["test/p036.jpg (test), train/p000.jpg (train)"])
    assert doubt(folder, "look alike in two splits") == (1, ["train/p001.jpg (train), val/p030.jpg (val)"])


def test_copies_in_a_split_are_told_and_whether_their_boxes_differ(folder):
    shutil.copy(folder / "train/p000.jpg", folder / "train/p001.jpg")
    assert doubt(folder, "exact copies of images in one split") == (1, ["train/p000.jpg, train/p001.jpg (train)"])
    assert doubt(folder, "with other boxes: which are right?") == (1, ["train/p000.jpg, train/p001.jpg"])


def test_a_suffix_that_tells_another_format_is_told(folder):
    photo(folder / "train/x.png", 0).replace(folder / "train/p000.jpg")
    assert doubt(folder, "suffix tells another format") == (1, ["train/p000.jpg: 'PNG'"])


def test_images_turned_by_exif_are_told_with_boxes_as_they_are_shown(folder):
    exif = Image.Exif()
    exif[274] = 6
    photo(folder / "train/p000.jpg", 0, (64, 96), exif=exif)
    assert doubt(folder, "turned by their EXIF orientation") == (1, ["train/p000.jpg"])


def test_boxes_in_the_frame_before_exif_turned_it_are_refused_with_the_reason(folder):
    exif = Image.Exif()
    exif[274] = 6
    photo(folder / "train/p000.jpg", 0, exif=exif)
    told = "\n".join(check(folder).refused)
    assert "train/p000.xml" in told
    assert "turned by its EXIF orientation" in told


def test_classes_whose_names_differ_in_case_alone_are_told(folder):
    change(folder, "val", {"p030.jpg": [("Red", (4, 8, 24, 16))]})
    assert "classes 'red' and 'Red' differ in case alone: are they one?" in check(folder).notes


def test_what_is_mended_is_counted(folder):
    change(folder, "train", {"p000.jpg": [("red", (80, 8, 24, 16)), ("red", (200, 8, 4, 4)), ("red", (8, 8, 0, 8))]})
    mended = {found.kind: found.count for found in check(folder).mended}
    assert mended == {
        "boxes that reach out of their image, clipped to it": 1,
        "boxes outside of their image, left out": 1,
        "boxes thinner than a pixel, left out": 1,
    }


def test_what_cannot_be_mended_is_on_the_page_by_name_without_figures(folder, tmp_path):
    (folder / "train/p000.xml").write_text("<annotation>")
    diagnosis = check(folder)
    assert not diagnosis.healthy
    assert "cannot be trained on before this is mended" in as_text(diagnosis)
    assert "train/p000.xml: broken XML" in as_text(diagnosis)
    write_page(diagnosis, tmp_path / "page.html")
    assert "train/p000.xml: broken XML" in (tmp_path / "page.html").read_text()


def test_the_terminal_and_the_page_tell_the_same(folder, tmp_path):
    change(folder, "train", {"p000.jpg": [("red", (80, 8, 24, 16)), ("&lt;b&gt;bold&lt;/b&gt;", (4, 8, 24, 16))]})
    shutil.copy(folder / "train/p002.jpg", folder / "test/p036.jpg")
    diagnosis = check(folder)
    write_page(diagnosis, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<b>bold" not in page
    shown = html.unescape(re.sub(r"<[^>]*>", " ", page))
    text = as_text(diagnosis)
    for found in (*diagnosis.doubtful, *diagnosis.mended):
        assert found.kind in text
        assert found.kind in shown
        for entry in found.first:
            assert entry in text
            assert entry in shown
    for word in ("<b>bold</b>", "clipped to it", "two splits", "my photos"):
        assert word in text
        assert word in shown


def test_the_page_is_one_file_that_asks_the_network_for_nothing(folder, tmp_path):
    write_page(check(folder), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert not re.findall(r"https?://|<script|<link|@import|url\(", page)
    assert (
        len(re.findall(r'<img width="320" height="320" src="data:image/jpeg;base64,[A-Za-z0-9+/=]+" alt="[^"]+">', page)) == 8
    )


def test_the_eight_images_have_each_class_and_are_the_same_each_time(folder):
    first = check(folder).examples
    assert first == check(folder).examples
    assert len(first) == 8
    assert {label for example in first for label, _ in example.boxes} == {0, 1}


def test_a_picture_is_the_image_resized_on_a_grey_square_with_its_boxes(folder):
    from gemnet.detection.data.pictures import GREY, colour, drawn

    example = next(example for example in check(folder).examples if len(example.boxes) == 1)
    picture = drawn(example, CLASSES)
    assert picture.size == (320, 320)
    assert picture.getpixel((160, 300)) == GREY  # 64 of 96 become 213 of 320
    (label, (x, y, width, height)) = example.boxes[0]
    assert picture.getpixel((round((x + width) * 320 / 96), round((y + height / 2) * 320 / 96))) == colour(label)


def test_splits_of_coco_whose_ids_differ_are_told(tmp_path):
    for split, boxes in SPLITS.items():
        photos(tmp_path / "a" / split, boxes)
        categories = {"blue": 1, "red": 2} if split == "val" else {"red": 1, "blue": 2}
        write_coco(tmp_path / f"a/{split}/a.json", boxes, categories=categories)
    assert any("val/a.json numbers classes otherwise than " in note for note in check(tmp_path / "a").notes)
    content = json.loads((tmp_path / "a/val/a.json").read_text())
    content["categories"] = [{"id": 2, "name": "blue"}, {"id": 1, "name": "red"}]
    (tmp_path / "a/val/a.json").write_text(json.dumps(content))
    assert any("val/a.json lists classes in another order" in note for note in check(tmp_path / "a").notes)
