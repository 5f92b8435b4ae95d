"""A detector of one stage finds its own boxes in each runtime, with NumPy beside the network."""

import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from alone import assert_finds_alone
from made_detection import photo
from made_detectors import CELL, CLASSES, write_detector
from torchvision.ops import batched_nms

from gemnet.cli.calling import Call
from gemnet.cli.export import main
from gemnet.core.errors import UserError
from gemnet.deploy.detector_export import export_detector
from gemnet.deploy.detector_steps import chosen, prepared
from gemnet.deploy.export import ExportError
from gemnet.deploy.runtimes.table import RUNTIMES
from gemnet.detection.predictor import Predictor
from gemnet.openmmlab import engine

ROOT = Path(__file__).parents[3]
SIZES = ((80, 96), (96, 64), (50, 96), (200, 150), (97, 33), (640, 40), (5, 7))
"""Widths and heights of photos: upright, lying, larger, odd, thin, tiny. The first fills the square that RetinaNet's become."""
OTHERS = [name for name in RUNTIMES if name != "onnx"]
QUICK = ("openvino", "torchscript")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return [photo(folder / f"{index}.png", index, size) for index, size in enumerate(SIZES)]


@pytest.fixture(scope="module", params=["rtmdet", "retinanet"])
def detector(request, tmp_path_factory, settled):
    """Config and checkpoint of a detector of one stage."""
    return write_detector(tmp_path_factory.mktemp(request.param), request.param, settled)


@pytest.mark.long
@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in OTHERS])
def test_it_finds_the_detectors_boxes_on_photos_of_any_size_and_its_script_does_alone(name, detector, photos, tmp_path):
    entry = RUNTIMES[name]
    if missing := [module for module in (*entry.writing, *entry.running) if find_spec(module) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    out = tmp_path / f"model{entry.ending}"
    found = export_detector(*detector, out, list(map(str, photos)), score=0.4, to=name)
    assert found.agreement.photos == len(photos)
    assert found.agreement.boxes > 100
    assert found.agreement.overlap > 0.99
    assert found.agreement.score < 1e-3
    assert found.size == sum(file.stat().st_size for file in entry.files(out))
    script = f"run_model_{entry.ending[1:]}.py"
    assert {file.name for file in tmp_path.iterdir()} == {
        *(file.name for file in entry.files(out)), f"model{entry.ending}.json", "detector_steps.py", script,
    }  # fmt: skip
    assert len((tmp_path / script).read_text(encoding="utf-8").splitlines()) <= 40
    needed = ("torch", "onnx") if name in ("torchscript", "torch.export", "executorch") else ()
    predictor = Predictor(engine.load_config(detector[0]), detector[1], "cpu")
    assert_finds_alone(found.runner, photos[0], tmp_path, predictor, 0.4, needed)


@pytest.fixture(scope="module")
def scripted(detector, photos, tmp_path_factory):
    """What TorchScript's export, which is quick, has left."""
    folder = tmp_path_factory.mktemp("scripted")
    return export_detector(*detector, folder / "model.pt", list(map(str, photos[:2])), score=0.4, to="torchscript")


def test_the_json_tells_what_an_app_needs(scripted):
    about = json.loads((scripted.path.parent / "model.pt.json").read_text(encoding="utf-8"))
    assert (about["format"], about["version"], about["runtime"]) == ("gemnet.detector", 1, "torchscript")
    assert about["files"] == ["model.pt"]
    assert about["classes"] == list(CLASSES)
    assert about["score_threshold"] == 0.4
    assert about["cell"] == CELL.digest()
    assert about["origin"]["checkpoint"] == "best.pth"
    assert about["input"] == {"name": "images", "type": "float32", "shape": ["batch", 3, 96, 96], "order": "RGB"}
    assert about["preprocessing"]["scale"] in ([96, 96], [96, 80])
    boxes, scores = torch.jit.load(scripted.path)(torch.zeros(3, 3, 96, 96))
    assert boxes.shape == (3, sum(about["boxes"]["levels"]), 4)
    assert scores.shape == (3, sum(about["boxes"]["levels"]), 3)


@pytest.mark.long
def test_photos_of_one_shape_have_a_network_of_their_size_with_the_detectors_own_boxes(detector, tmp_path):
    lying = [photo(tmp_path / f"{index}.png", index, (96, 64)) for index in range(2)]
    fitted = {"image_size": [96, 64]}  # as `gemnet detect` fits images into the shape of most photos
    found = export_detector(*detector, tmp_path / "model.pt", list(map(str, lying)), fitted, 0.4, to="torchscript")
    assert found.about["input"]["shape"] == ["batch", 3, 64, 96]
    predictor = Predictor(engine.load_config(detector[0], fitted), detector[1], "cpu")
    assert_finds_alone(found.runner, lying[1], tmp_path, predictor, 0.4, ("torch", "onnx"))
    for size in ((64, 96), (10, 200), (300, 7)):
        pixels = np.full((size[1], size[0], 3), 90, np.uint8)
        images, limit, factor = prepared(pixels, found.about)
        assert images.shape == (1, 3, 64, 96)
        assert limit[0] <= 96
        assert limit[1] <= 64
        resized = np.divide(size, factor)  # the photo's own pixels, which lie in what boxes are cut to
        assert np.allclose(resized, np.round(resized))
        assert (np.round(resized) <= limit).all()
        assert np.round(resized).min() >= 1


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("size", [(96, 64), (50, 96), (333, 250), (97, 33), (64, 4), (5, 7), (1, 1)])
def test_pixels_are_resized_as_by_opencv_to_the_last_bit(size, order):
    steps = {
        "scale": [80, 60], "keep_ratio": True, "fill_size": [70, 50], "fill_value": 114.0, "order": order,
        "mean": [1.0, 2.0, 3.0], "std": [2.0, 4.0, 8.0],
    }  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    images, limit, factor = prepared(pixels, {"preprocessing": steps, "input": {"shape": [1, 3, 96, 96]}})
    ratio = min(80 / max(size), 60 / min(size))
    new = [max(1, int(side * ratio + 0.5)) for side in size]
    expected = cv2.resize(pixels if order == "RGB" else pixels[..., ::-1].copy(), new, interpolation=cv2.INTER_LINEAR)
    whole = images[0].transpose(1, 2, 0) * np.float32([2, 4, 8]) + np.float32([1, 2, 3])
    np.testing.assert_array_equal(whole[: new[1], : new[0]], expected)
    assert limit == [max(new[0], 70), max(new[1], 50)]
    assert factor == [size[0] / new[0], size[1] / new[1]]
    filled = np.full((limit[1], limit[0]), True)
    filled[: new[1], : new[0]] = False
    np.testing.assert_allclose(whole[: limit[1], : limit[0]][filled], 114)
    assert (images[..., limit[1] :, :] == 0).all()


def test_boxes_are_chosen_as_torchvision_suppresses_them():
    random = np.random.default_rng(0)
    corners = random.uniform(-5, 60, (300, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + random.uniform(0, 30, (300, 2)).astype(np.float32)], 1)
    scores = random.permutation(900).reshape(300, 3).astype(np.float32) / 900
    rules = {
        "levels": [200, 100], "candidates": 250, "score": 0.05, "overlap": 0.5, "most": 40, "smallest": 3.0, "cut": True,
    }  # fmt: skip
    about = {"boxes": rules, "classes": list(CLASSES)}
    found = chosen(boxes, scores, about, [50, 40], [2.0, 0.5])
    pairs = []
    for start, stop in ((0, 200), (200, 300)):
        of_level = [(scores[box, label], box, label) for box in range(start, stop) for label in range(3)]
        pairs += [pair for pair in sorted(of_level, reverse=True)[:250] if pair[0] > 0.05]
    score, box, label = (torch.tensor(np.array(values)) for values in zip(*pairs))
    cut = torch.from_numpy(boxes)[box.long()].clamp(min=0).minimum(torch.tensor([50.0, 40, 50, 40]))
    cut = cut * torch.tensor([2, 0.5, 2, 0.5])
    large = ((cut[:, 2] - cut[:, 0]) > 3) & ((cut[:, 3] - cut[:, 1]) > 3)
    cut, score, label = cut[large], score[large], label[large]
    kept = batched_nms(cut, score, label, 0.5)[:40]
    for ours, theirs in zip(found, (cut[kept], score[kept], label[kept]), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)
    nothing = chosen(boxes, scores * 0, about, [50, 40], [1.0, 1.0])
    assert [len(values) for values in nothing] == [0, 0, 0]
    assert nothing[0].shape == (0, 4)


def test_two_stages_are_refused_with_the_remedy(photos, tmp_path, settled):
    config, checkpoint = write_detector(tmp_path, "faster_rcnn", settled)
    with pytest.raises(UserError, match=r"two stages .* only --to onnx takes it"):
        export_detector(config, checkpoint, tmp_path / "out" / "model.pt", [str(photos[0])], to="torchscript")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_earlier_file_stays_where_the_boxes_differ(detector, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("gemnet.deploy.detector_steps.chosen", lambda *given: [values[1:] for values in chosen(*given)])
    for name in ("model.pt", "model.pt.json"):
        (tmp_path / name).write_text("earlier")
    with pytest.raises(ExportError, match=r"not written, .* the detector finds a box"):
        export_detector(*detector, tmp_path / "model.pt", [str(photos[0])], to="torchscript")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(
        ("model.pt", "model.pt.json"), "earlier"
    )


def test_the_command_writes_it_with_the_runtimes_ending(detector, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [detector[0], "--to", "torchscript", "--checkpoint", detector[1], "--images", *map(str, photos[:2])]
    assert main(Call(arguments, "gemnet", "gemnet export", ROOT)) == 0
    told = capsys.readouterr().out
    assert f"run it anywhere: python {Path('work_dirs/detector/run_detector_pt.py')} photo.jpg" in told
    assert Path("work_dirs/detector/detector.pt").is_file()
    assert main(Call([detector[0], "wrong.onnx", *arguments[1:]], "gemnet", "gemnet export", ROOT)) == 1
    assert "wrong.onnx: a detector's file for torchscript ends with .pt" in capsys.readouterr().err
