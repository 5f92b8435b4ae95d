"""An exported detector finds what the detector finds, on photos of any size, in batches of any size, with onnxruntime alone."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from alone import assert_finds_alone
from made_detection import photo
from made_detectors import CELL, CLASSES, PARTS, write_detector
from PIL import Image
from torch import nn

from gemnet.deploy.detector_export import export_detector, script_for
from gemnet.deploy.detector_onnx import write_onnx
from gemnet.deploy.preprocessing import Preprocessing, preprocessing
from gemnet.detection.own_detector.measures import figures
from gemnet.detection.predictor import Predictor
from gemnet.images.pixels import read_image
from gemnet.openmmlab import engine

ROOT = Path(__file__).parents[3]
SIZES = ((96, 64), (50, 96), (200, 150), (97, 33), (640, 40), (5, 7))
"""Widths and heights of photos: lying, upright, larger, odd, thin, tiny."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return [photo(folder / f"{index}.png", index, size) for index, size in enumerate(SIZES)]


@pytest.fixture(scope="module", params=list(PARTS))
def exported(request, photos, tmp_path_factory, settled):
    """Each kind of detector: its predictor, and what its export left."""
    folder = tmp_path_factory.mktemp(request.param)
    config, checkpoint = write_detector(folder, request.param, settled)
    found = export_detector(config, checkpoint, folder / "out" / "model.onnx", list(map(str, photos[:2])), score=0.4)
    return Predictor(engine.load_config(config), checkpoint, "cpu"), found, request.param


def run(path, pixels):
    """Boxes, scores and labels of each photo of a batch [B, H, W, 3]."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    dets, labels = session.run(None, {"photos": pixels})
    for boxes, of in zip(dets, labels):
        assert (np.diff(boxes[:, 4]) <= 0).all()
        assert (boxes[of < 0] == 0).all()
        assert set(of[of < 0].tolist()) <= {-1}
    return [(boxes[of >= 0, :4], boxes[of >= 0, 4], of[of >= 0]) for boxes, of in zip(dets, labels)]


def assert_same(own, other):
    """Every box of each is in the other; written without the proof's own matching."""
    assert len(own[1]) == len(other[1])
    near = (
        (np.abs(np.reshape(own[0], (-1, 1, 4)) - np.reshape(other[0], (1, -1, 4))).max(2) < 0.02)
        & (np.abs(np.subtract.outer(own[1], other[1])) < 1e-4)
        & np.equal.outer(own[2], other[2])
    )
    assert near.any(0).all()
    assert near.any(1).all()


def test_the_file_finds_the_detectors_boxes_on_photos_of_any_size(exported, photos):
    predictor, found, _ = exported
    counts = []
    for path in photos:
        own = predictor(path)
        assert_same((own.boxes, own.scores, own.labels), run(found.path, read_image(path)[None])[0])
        counts.append(len(own.scores))
    assert min(counts) > 0
    assert max(counts) > 10


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_batch_of_any_size_gives_what_its_photos_give_alone(count, exported, photos):
    pixels = np.stack([np.roll(read_image(photos[0]), 11 * index, 1) for index in range(count)])
    for one, own in zip(run(exported[1].path, pixels), pixels, strict=True):
        assert_same(run(exported[1].path, own[None])[0], one)


def test_ap_from_the_file_is_ap_from_the_detector(exported, photos):
    predictor, found, _ = exported
    content = {"images": [], "annotations": [], "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES)]}
    sides = ([], [])
    for number, path in enumerate(photos[:3], 1):
        content["images"].append({"id": number, "file_name": path.name, "width": 1, "height": 1})
        own = predictor(path)
        other = run(found.path, read_image(path)[None])[0]
        for side, (boxes, scores, labels) in zip(sides, ((own.boxes, own.scores, own.labels), other), strict=True):
            for (x1, y1, x2, y2), score, label in zip(np.array(boxes).tolist(), np.array(scores).tolist(), labels, strict=True):
                box = {"image_id": number, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1]}
                side.append(box | {"score": score})
        for box in sides[0][-len(own.scores) :: 3]:  # every third box is an object, moved: IoU 7/9, no threshold of COCO's
            x, y, width, height = box["bbox"]
            number_of = len(content["annotations"]) + 1
            moved = {"bbox": [x + width / 8, y, width, height], "area": width * height, "iscrowd": 0, "id": number_of}
            content["annotations"].append({**box, **moved})
    ours, theirs = (figures(content, side) for side in sides)
    assert ours.ap == pytest.approx(theirs.ap, abs=1e-6)
    assert 0 < ours.ap < 1


def test_the_graph_is_valid_and_whole_with_normalisation_folded_and_no_path_of_this_machine(exported):
    _, found, kind = exported
    onnx.checker.check_model(str(found.path), full_check=True)
    kinds = {node.op_type for node in onnx.load(found.path).graph.node}
    assert "NonMaxSuppression" in kinds
    assert ("RoiAlign" in kinds) == (kind == "faster_rcnn")
    assert not any("Normalization" in name for name in kinds)
    assert b'File "' not in found.path.read_bytes()  # stack traces
    assert str(ROOT).encode() not in found.path.read_bytes()
    session = onnxruntime.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", "height", "width", 3]


def test_the_file_tells_what_an_app_needs(exported):
    predictor, found, kind = exported
    session = onnxruntime.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["gemnet"])
    assert (about["format"], about["version"]) == ("gemnet.detector", 1)
    assert about["classes"] == list(CLASSES)
    assert about["score_threshold"] == 0.4
    assert about["cell"] == CELL.digest()
    assert about["origin"]["config"] == "detector.py"
    assert about["origin"]["checkpoint"] == "best.pth"
    assert len(about["origin"]["sha256"]) == 64
    steps = preprocessing(predictor.pipeline.transforms, predictor.model.data_preprocessor)
    assert about["preprocessing"] == json.loads(json.dumps(steps.described()))
    assert tuple(about["preprocessing"]["scale"]) == ((96, 96) if kind == "rtmdet" else (96, 80))


def test_what_was_compared_is_told(exported):
    _, found, _ = exported
    assert found.agreement.photos == 2
    assert found.agreement.boxes > 10
    assert found.agreement.overlap > 0.999
    assert found.agreement.score < 1e-4
    assert f"{found.agreement.boxes} boxes on 2 photos as the detector's own: IoU at least " in str(found)
    assert f"{found.path}: {found.path.stat().st_size / 1e6:.1f} MB" in str(found)


def test_the_script_beside_it_has_30_lines_and_finds_the_boxes_without_torch_and_gemnet(exported, tmp_path):
    predictor, found, _ = exported
    text = found.runner.read_text(encoding="utf-8")
    assert found.runner.name == "run_model.py"
    assert len(text.splitlines()) <= 30
    place = photo(tmp_path / "p #1 'é'.jpg", 0, exif=_turned())
    assert_finds_alone(found.runner, place, tmp_path, predictor, 0.4)


def _turned():
    exif = Image.Exif()
    exif[274] = 6
    return exif


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "CMYK"])
def test_the_script_reads_photos_as_the_detector_does(mode, tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)).convert("RGBA")
    path = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    (image if mode == "RGBA" else image.convert("RGB").convert(mode)).save(path)
    lines = script_for("detector.onnx").splitlines()
    (start,) = [index for index, line in enumerate(lines) if "exif_transpose" in line]
    scope = {}
    exec("import numpy as np\nfrom PIL import Image, ImageOps\n", scope)
    exec("\n".join(line.strip() for line in lines[start : start + 2]), scope | {"path": path}, scope)
    assert np.array_equal(np.asarray(scope["photo"]), read_image(path))


class Passing(nn.Module):
    """A network that gives what it is given."""

    def forward(self, images, limit, factor):
        return images * 1, torch.cat([limit, factor])


STEPS = [
    Preprocessing((96, 80), True, None, 0.0, "RGB", (120.5, 110.0, 100.0), (58.0, 57.0, 56.0), 32),
    Preprocessing((64, 64), True, (64, 64), 114.0, "BGR", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), 32),
    Preprocessing((70, 100), False, None, 0.0, "RGB", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0), 32),
]


@pytest.mark.parametrize("steps", STEPS)
def test_photos_become_what_mmdets_pipeline_makes_of_them_to_the_last_bit(steps, tmp_path):
    pipeline, preprocessor = mmdets(steps)
    write_onnx(Passing(), steps, {}, tmp_path / "steps.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "steps.onnx"), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for size in [(80, 96), (96, 80), (160, 192), (48, 40), (77, 131), (600, 41), (33, 500), (2, 2), (63, 64), (1000, 999)]:
        pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        data = {"img": np.ascontiguousarray(pixels[..., ::-1]), "img_shape": size, "ori_shape": size}
        for step in pipeline:
            data = step(data)
        sample = data["data_samples"]
        images, numbers = session.run(None, {"photos": pixels[None]})
        expected = preprocessor({"inputs": [data["inputs"]], "data_samples": [sample]}, False)["inputs"].numpy()
        np.testing.assert_allclose(images, expected, rtol=1e-6, atol=1e-6)
        assert images.shape == expected.shape
        (height, width), (x, y) = sample.img_shape[:2], sample.scale_factor
        np.testing.assert_allclose(numbers, [width, height, 1 / x, 1 / y], rtol=1e-6)


def mmdets(steps):
    """mmdet's transforms and preprocessor that do these steps."""
    from mmdet.datasets.transforms import PackDetInputs, Pad, Resize
    from mmdet.models.data_preprocessors import DetDataPreprocessor

    pipeline = [Resize(scale=steps.scale, keep_ratio=steps.keep_ratio)]
    if steps.fill_size:
        pipeline.append(Pad(size=steps.fill_size, pad_val={"img": (steps.fill_value,) * 3}))
    pack = PackDetInputs(meta_keys=("img_shape", "scale_factor"))
    preprocessor = DetDataPreprocessor(steps.mean, steps.std, steps.divisor, bgr_to_rgb=steps.order == "RGB")
    found = preprocessing([*pipeline, pack], preprocessor)
    assert found.described()["scale"] == steps.scale
    assert (found.fill_size, found.order, found.divisor) == (steps.fill_size, steps.order, steps.divisor)
    return [*pipeline, pack], preprocessor
