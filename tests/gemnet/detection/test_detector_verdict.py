"""How a detector's settings are chosen, its predictions measured and judged."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gemnet.detection.data import Prepared
from gemnet.detection.own_detector.choices import Facts, batch_size, chosen, image_size, learning_rate
from gemnet.detection.own_detector.measures import BACKGROUND, SCORES, Figures, best_score, figures, mistakes
from gemnet.detection.own_detector.report import write_report
from gemnet.detection.own_detector.verdict import verdict

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("shapes", "side", "size"),
    [
        ([(640, 480)] * 9, 0.06, (320, 256)),
        ([(480, 640)] * 9, 0.06, (256, 320)),
        ([(640, 480)] * 5 + [(480, 640)] * 4, 0.06, (320, 320)),
        ([(1920, 1080)] * 9, 0.02, (640, 384)),
        ([(1920, 1080)] * 9, 0.025, (512, 288)),
        ([(640, 640)] * 9, 0.001, (640, 640)),
        ([(300, 200)] * 9, 0.01, (320, 224)),
    ],
    ids=["lying", "standing", "mixed", "small objects", "less small ones", "tiny ones", "small photos"],
)
def test_the_image_size_follows_the_photos_shape_and_the_objects_size(shapes, side, size):
    assert image_size(Facts(len(shapes), 20, shapes, [side] * 20)) == size


def test_few_photos_are_trained_on_in_small_batches_and_the_learning_rate_goes_with_its_root():
    assert [batch_size(images, "cpu") for images in (2, 10, 205, 1000, 100_000)] == [2, 4, 4, 8, 8]
    assert [batch_size(images, "cuda") for images in (205, 1000, 100_000)] == [8, 16, 32]
    assert [learning_rate(batch) for batch in (2, 8, 32)] == [5e-4, 1e-3, 2e-3]


def test_what_the_user_sets_is_not_chosen():
    found = Facts(100, 100, [(640, 480)] * 100, [0.1] * 100)
    options = chosen(found, "cpu", 1, {"image_size": 416, "batch_size": 2, "optim_wrapper.optimizer.lr": 0.5})
    assert options["image_size"] == [416, 320]
    assert options["batch_size"] == 2
    assert options["optim_wrapper.optimizer.lr"] == 0.5


CONTENT = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [50, 50, 40, 40], "area": 1600, "iscrowd": 0},
    ],
}


def predicted(*found):
    return [{"image_id": 1, "category_id": label, "bbox": box, "score": score} for label, box, score in found]


def test_mistakes_are_told_by_kind():
    found = predicted((1, [0, 0, 40, 40], 0.9), (1, [50, 50, 40, 38], 0.8), (2, [0, 60, 20, 20], 0.7), (2, [0, 0, 9, 9], 0.1))
    (entry,), table = mistakes(CONTENT, found, 0.3)
    assert [right for *_, right in entry.found] == [True, False, False]
    assert [hit for _, _, hit in entry.truths] == [True, False]
    assert entry.wrong == 3
    assert table == {
        "cat": {"cat": 1, "dog": 0, BACKGROUND: 0},
        "dog": {"cat": 1, "dog": 0, BACKGROUND: 0},
        BACKGROUND: {"cat": 0, "dog": 1, BACKGROUND: 0},
    }


def test_the_score_to_count_from_is_that_of_the_most_right_and_fewest_wrong():
    right = predicted((1, [0, 0, 40, 40], 0.62), (2, [50, 50, 40, 40], 0.58))
    wrong = predicted((1, [0, 60, 20, 20], 0.42), (2, [60, 0, 20, 20], 0.2))
    assert best_score(CONTENT, right + wrong) == 0.45


def test_the_score_to_count_from_has_the_highest_f1_of_mistakes_counted_at_each_score():
    rng = np.random.default_rng(0)
    for _ in range(20):
        boxes = np.concatenate([rng.uniform(0, 60, (30, 2)), rng.uniform(20, 45, (30, 2))], axis=1).tolist()
        found = predicted(*zip(rng.integers(1, 3, 30).tolist(), boxes, rng.uniform(0, 1, 30).round(2).tolist()))

        def f1(score, found=found):
            (entry,), _ = mistakes(CONTENT, found, score)
            return 2 * sum(right for *_, right in entry.found) / (len(entry.truths) + len(entry.found))

        assert best_score(CONTENT, found) == max(SCORES, key=f1)


def test_a_report_shows_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"photo\xff\x1b[31m.jpg")
    Image.new("RGB", (100, 100)).save(tmp_path / name)
    listed, confusions = mistakes({**CONTENT, "images": [{**CONTENT["images"][0], "file_name": name}]}, [], 0.5)
    prepared = Prepared("coco", tmp_path, ("cat", "dog"), {}, {"test": 1}, {"test": 2}, {}, (f"{name}: a note",))
    plan = {"image_size": (64, 64), "params": 1, "macs": 1, "batch_size": 1, "processes": 1, "learning_rate": 1.0}
    result = {"seconds": 1, "AP": 0.0, "AP50": 0.0, "verdict": [], "classes": {}, "score": 0.5, "confusions": confusions}
    write_report(tmp_path / "report.html", prepared, plan, {**result, "validation": []}, [], listed)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("photo\\udcff\\x1b[31m.jpg") == 3
    assert page.count("data:image/jpeg;base64,") == 1


def test_perfect_predictions_have_an_ap_of_1_and_none_an_ap_of_0():
    perfect = figures(CONTENT, predicted((1, [0, 0, 40, 40], 0.9), (2, [50, 50, 40, 40], 0.9)))
    assert (perfect.ap, perfect.ap50, perfect.medium, perfect.small) == (1.0, 1.0, 1.0, None)
    half = figures(CONTENT, predicted((1, [0, 0, 40, 40], 0.9)))
    assert half.classes == {"cat": {"ap": 1.0, "ap50": 1.0, "objects": 1}, "dog": {"ap": 0.0, "ap50": 0.0, "objects": 1}}
    assert figures(CONTENT, []).ap == 0.0


VALIDATED = [{"iteration": 10 * (n + 1), "AP": 0.1 * n, "AP50": 0.2 * n, "seconds": 1.0} for n in range(6)]
LEVEL = [{**one, "AP": 0.5} for one in VALIDATED]


@pytest.mark.parametrize(
    ("tested", "trained", "validations", "kinds"),
    [
        (0.05, 0.05, LEVEL, {"learns": "hardly learned"}),
        (0.4, 0.4, VALIDATED, {"learns": "many are not", "time": "0.300 after two thirds of the run, 0.500 at the end"}),
        (0.9, 0.9, LEVEL, {"learns": "learns well"}),
        (0.4, 0.8, LEVEL, {"learns": "many are not", "photos": "AP 0.800 on training images, 0.400 on the test's"}),
    ],
    ids=["nothing", "more time", "well", "by heart"],
)
def test_the_verdict_follows_the_figures(tmp_path, tested, trained, validations, kinds):
    content = {**CONTENT, "annotations": [{**one, "id": number} for number in range(60) for one in CONTENT["annotations"]]}
    (tmp_path / "train.json").write_text(json.dumps(content))
    prepared = Prepared("coco", tmp_path, ("cat", "dog"), {"train": tmp_path / "train.json"}, {}, {}, {}, ())
    of = [Figures(value, value, None, None, None, {}) for value in (tested, trained)]
    found = verdict(prepared, {"image_size": [320, 320]}, *of, validations, [], {})
    assert [sentence.kind for sentence in found] == list(kinds)
    assert all(kinds[sentence.kind] in f"{sentence.says} {sentence.evidence}" for sentence in found)


def test_the_verdict_names_small_objects_few_objects_doubtful_labels_and_classes_that_are_confused(tmp_path):
    small = [{**CONTENT["annotations"][0], "id": number, "bbox": [0, 0, 2, 2]} for number in range(9)]
    (tmp_path / "train.json").write_text(json.dumps({**CONTENT, "annotations": small}))
    prepared = Prepared("coco", tmp_path, ("cat", "dog"), {"train": tmp_path / "train.json"}, {}, {}, {}, ())
    figure = Figures(0.7, 0.7, None, None, None, {})
    found = predicted((2, [0, 0, 40, 40], 0.9), *[(1, [60, 0, 30, 20 + n], 0.8) for n in range(4)])
    listed, table = mistakes(CONTENT, found, 0.3)
    table["cat"]["dog"] = 3
    sentences = verdict(prepared, {"image_size": [320, 320]}, figure, figure, [], listed, table)
    told = {sentence.kind: f"{sentence.says} {sentence.evidence}" for sentence in sentences}
    assert list(told) == ["learns", "photos", "size", "labels", "confusion"]
    assert "cat 9" in told["photos"]
    assert "--image-size 640" in told["size"]
    assert "100% of the objects are below 12 pixels" in told["size"]
    assert "5 predictions with a score of 0.6 or more" in told["labels"]
    assert "a.jpg" in told["labels"]
    assert "cat is often taken for dog" in told["confusion"]


def test_the_page_shows_the_recorded_figures():
    record = json.loads((ROOT / "docs/results/own_detector_bccd.json").read_text())
    page = (ROOT / "docs/own-detector.md").read_text()

    def shown(value):
        return f"{value:.3f}".lstrip("0")

    rows = {"all": {"ap": record["AP"], "ap50": record["AP50"], "objects": record["boxes"]["test"]}, **record["classes"]}
    for name, row in rows.items():
        assert f"| {name} | {shown(row['ap'])} | {shown(row['ap50'])} | {row['objects']} |" in page
    text = " ".join(page.split())
    best = max(one["AP"] for one in record["validation"])
    assert f"It took {record['seconds'] / 60:.1f} minutes" in text
    assert f"after {record['seconds_to_first_validation']} seconds; the best one was {shown(best)}" in text
    assert f"scores of {record['score']:.2f}".replace("0.", ".") in text
    assert f"{sum(record['images'].values())} photos of 640x480, {sum(record['boxes'].values()):,} boxes" in text
