"""A whole detector becomes int8 where its network is, is measured on photos with boxes, and tells what does not fit."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from alone import assert_finds_alone
from made_detection import photo
from made_detectors import write_detector

from gemnet.core.errors import DataError
from gemnet.deploy.detector_beside import NetworkDetector
from gemnet.deploy.detector_export import export_detector
from gemnet.deploy.detector_onnx import OnnxDetector
from gemnet.deploy.export import ExportError
from gemnet.deploy.int8.average_precision import LabelledPhotos
from gemnet.deploy.int8.detectors import Photos, export_int8_detector, photos_for, quantize_detector
from gemnet.deploy.int8.layers import QuantizationError
from gemnet.deploy.int8.targets import TARGETS
from gemnet.images.pixels import read_image


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return [photo(folder / f"{index:02}.png", index, (96, 64)) for index in range(16)]


@pytest.fixture(scope="module")
def exported(photos, tmp_path_factory, settled):
    """A small detector: its config, and its float form for ONNX Runtime."""
    folder = tmp_path_factory.mktemp("rtmdet")
    config, checkpoint = write_detector(folder, "rtmdet", settled)
    found = export_detector(config, checkpoint, folder / "float.onnx", list(map(str, photos[:2])))
    return config, found


@pytest.fixture(scope="module")
def labelled(exported, photos):
    """The photos, with the boxes that the float file is surest of."""
    detector, names = OnnxDetector(exported[1].path), ("red", "blue", "grün, hell")
    images, annotations = [], []
    for index, path in enumerate(photos):
        images.append({"id": index, "file_name": path.name, "width": 96, "height": 64})
        (found,) = detector(read_image(path)[None])
        for (x1, y1, x2, y2), label in list(zip(found.boxes.tolist(), found.labels.tolist()))[:4]:
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": index,
                    "category_id": label,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    return LabelledPhotos(
        "made.json", {"images": images, "annotations": annotations, "categories": categories}, photos[0].parent
    )


def test_backbone_neck_and_head_become_int8_and_the_rest_stays_float(exported, photos, labelled, tmp_path):
    report = quantize_detector(exported[1], tmp_path / "int8.onnx", Photos(photos, labelled, None), 30)
    assert report.measured[0].lost <= 30
    assert report.measured[0].reference > 0.3
    assert report.as_json()["measured"][0]["measure"] == "AP"
    assert json.dumps(report.as_json())
    graph = onnx.load(tmp_path / "int8.onnx").graph
    made = {node.output[0]: node for node in graph.node}
    kept = set(report.kept_float)
    for node in graph.node:
        if node.op_type == "Conv":
            is_float = node.input[1].removesuffix(".weight") in kept
            assert (node.input[1] in made and made[node.input[1]].op_type == "DequantizeLinear") != is_float
    after = next(node for node in graph.node if node.op_type == "NonMaxSuppression")
    assert made[after.input[0]].op_type != "DequantizeLinear"
    (found,) = OnnxDetector(tmp_path / "int8.onnx")(np.zeros((1, 50, 70, 3), np.uint8))
    assert found.boxes.shape[1] == 4


@pytest.mark.parametrize(
    "name",
    [pytest.param(one.runtime.name, marks=[] if one.runtime.name == "openvino" else pytest.mark.slow) for one in TARGETS[1:]],
)
def test_for_other_runtimes_the_network_becomes_int8_and_its_script_finds_boxes(name, exported, photos, labelled, tmp_path):
    kind = next(one for one in TARGETS if one.runtime.name == name)
    entry = kind.runtime
    for module in (*entry.writing, *entry.running, *kind.quantizing):
        pytest.importorskip(module, reason=f"{module} is not installed")
    config, checkpoint = exported[0], str(Path(exported[0]).with_name("best.pth"))
    chosen_by = Photos(photos, labelled, labelled)
    out = tmp_path / f"small{entry.ending}"
    report = export_int8_detector(config, checkpoint, out, chosen_by, [str(photos[0])], score=0.3, max_loss=30)
    assert report.measured[0].reference > 0.3
    assert report.measured[0].lost <= 30
    assert report.measured[1] == report.measured[0]  # the same photos
    assert report.kept_float == []
    assert sum(layer.precision == "int8" for layer in report.layers) == len(report.layers) > 20
    about = json.loads((tmp_path / f"small{entry.ending}.json").read_text(encoding="utf-8"))
    assert about["files"] == [file.name for file in entry.files(out)]
    assert {file.name for file in tmp_path.iterdir()} == {
        *about["files"], f"small{entry.ending}.json", "detector_steps.py", f"run_small_{entry.ending[1:]}.py"
    }  # fmt: skip
    (found,) = NetworkDetector(entry, out, about)(read_image(photos[0])[None])
    own = SimpleNamespace(**{name: getattr(found, name).tolist() for name in ("boxes", "scores", "labels")}, size=(64, 96))
    needed = ("torch", "onnx") if name == "executorch" else ()
    assert_finds_alone(tmp_path / f"run_small_{entry.ending[1:]}.py", photos[0], tmp_path, lambda _: own, 0.3, needed)


def test_photos_and_boxes_that_do_not_fit_are_told(exported, photos, labelled, tmp_path):
    other = dict(labelled.content, categories=[{"id": 0, "name": "cat"}])
    with pytest.raises(DataError, match=r"made\.json has 1 classes, not 3"):
        quantize_detector(
            exported[1], tmp_path / "int8.onnx", Photos(photos, LabelledPhotos("made.json", other, photos[0].parent), None)
        )
    (tmp_path / "broken.png").write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"broken\.png: not an image that can be decoded"):
        quantize_detector(exported[1], tmp_path / "int8.onnx", Photos([tmp_path / "broken.png"], None, None))
    assert not (tmp_path / "int8.onnx").exists()
    config = exported[0]
    with pytest.raises(ExportError, match=r"int8\.xml: the bits of weights are not for choice in OpenVINO"):
        export_int8_detector(config, None, tmp_path / "int8.xml", Photos(photos, None, None), weight_bits=8)
    with pytest.raises(ExportError, match=r"int8\.param: a file of format int8 ends with \.onnx for ONNX Runtime, \.xml"):
        export_int8_detector(config, None, tmp_path / "int8.param", Photos(photos, None, None))
    with pytest.raises(QuantizationError, match="3 calibration images are too few; expected at least 16"):
        photos_for(config, None, photos[0].parent, 3)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        photos_for(config, None, tmp_path / "nowhere")
    with pytest.raises(DataError, match="16 photos, too few to calibrate with 20; add photos"):
        photos_for(config, None, photos[0].parent, 20)
    assert len(photos_for(config, None, photos[0].parent, 16).calibration) == 16
