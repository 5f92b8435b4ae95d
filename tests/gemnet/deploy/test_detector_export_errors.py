"""What cannot be exported is refused by its name, and where the export fails nothing is left and nothing is lost."""

import errno
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_detection import photo
from made_detectors import CELL, CLASSES, options, write_detector
from mmengine.registry import MODELS, DefaultScope

from gemnet.cli.calling import Call
from gemnet.cli.export import main
from gemnet.core.errors import UserError
from gemnet.core.extras import MissingExtraError
from gemnet.deploy import detector_onnx
from gemnet.deploy.detector_export import export_detector
from gemnet.deploy.detectors import exportable
from gemnet.deploy.export import ExportError
from gemnet.deploy.preprocessing import preprocessing
from gemnet.deploy.proof import Found
from gemnet.detection.own_detector import exporting
from gemnet.detection.own_detector.exporting import export_if_possible, export_own_detector, export_told
from gemnet.detection.predictor import Predictor
from gemnet.images.pixels import read_image
from gemnet.openmmlab import engine

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def detector(tmp_path_factory, settled):
    """Config and checkpoint of a small detector."""
    return write_detector(tmp_path_factory.mktemp("detector"), "rtmdet", settled)


@pytest.fixture
def photos(tmp_path):
    return [photo(tmp_path / "photos" / f"{index}.png", index) for index in range(3)]


@pytest.fixture
def stand_in(detector, photos, monkeypatch):
    """In place of ONNX, a file with nothing in it, and the detector's own boxes, moved by `stand_in.by` pixels."""
    predictor = Predictor(engine.load_config(detector[0]), detector[1], "cpu")

    class StandIn:
        by, asked = 0.0, []

        def __init__(self, path):
            assert Path(path).read_text() == "network"

        def __call__(self, pixels):
            return [self.one(one) for one in pixels]

        def one(self, pixels):
            StandIn.asked.append(pixels)
            step = predictor.pipeline.transforms[0]
            data = {
                "img": np.ascontiguousarray(pixels[..., ::-1]),
                "img_shape": pixels.shape[:2],
                "ori_shape": pixels.shape[:2],
            }
            for step in predictor.pipeline.transforms[1:]:
                data = step(data | {"img_id": 0})
            batch = {"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]}
            with torch.no_grad():
                found = predictor.model.test_step(batch)[0].pred_instances
            return Found(found.bboxes + StandIn.by, found.scores, found.labels)

    monkeypatch.setattr(detector_onnx, "OnnxDetector", StandIn)
    monkeypatch.setattr(detector_onnx, "write_onnx", lambda network, steps, metadata, path: path.write_text("network"))
    return StandIn


def test_a_file_that_finds_other_boxes_is_told_and_not_written(detector, photos, stand_in, tmp_path):
    stand_in.by = 3.0
    with pytest.raises(ExportError, match=r"not written, for it does not find what the detector finds: .*0\.png"):
        export_detector(*detector, tmp_path / "out" / "a.onnx", [str(photos[0])])
    assert not list((tmp_path / "out").iterdir())


def test_an_earlier_file_stays_where_a_new_export_fails(detector, photos, stand_in, tmp_path):
    export_detector(*detector, tmp_path / "out" / "a.onnx", [str(photos[0])])
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(before) == {"a.onnx", "run_a.py"}
    stand_in.by = 3.0
    with pytest.raises(ExportError):
        export_detector(*detector, tmp_path / "out" / "a.onnx", [str(photos[0])])
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_the_proof_is_made_on_the_photos_that_are_given_in_a_batch_too(detector, photos, stand_in, tmp_path, capsys):
    (tmp_path / "photos" / "broken.png").write_bytes(b"broken")
    found = export_detector(*detector, tmp_path / "a.onnx", [str(tmp_path / "photos")])
    assert found.agreement.photos == 3
    assert "given with --images" in str(found)
    assert "broken.png" in capsys.readouterr().err
    read = [read_image(path) for path in photos]
    expected = [read[0][:, ::-1], *read[:1], *read]
    assert all(map(np.array_equal, stand_in.asked, expected))


def test_without_photos_of_the_test_set_made_ones_are_taken_and_told(detector, stand_in, tmp_path):
    found = export_detector(*detector, tmp_path / "a.onnx")
    assert found.agreement.photos == 3
    assert "made pictures, for want of photos: give some with --images" in str(found)


def test_photos_of_the_test_set_are_taken_spread_over_it(detector, stand_in, tmp_path):
    images = []
    for number in range(7):
        photo(tmp_path / "data" / "test" / f"{number}.png", number)
        images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 64})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": [], "categories": categories}
    (tmp_path / "data" / "test.json").write_text(json.dumps(content))
    settings = {
        "test_dataloader.dataset.data_root": str(tmp_path / "data"), "test_dataloader.dataset.ann_file": "test.json",
        "test_dataloader.dataset.data_prefix.img": "test/",
    }  # fmt: skip
    found = export_detector(*detector, tmp_path / "a.onnx", options=settings, count=3)
    assert found.agreement.photos == 3
    assert f"photos of {tmp_path / 'data' / 'test.json'}" in str(found)
    expected = [read_image(tmp_path / "data" / "test" / f"{number}.png") for number in (0, 2, 4)]
    assert all(map(np.array_equal, stand_in.asked[2:], expected))


def test_random_weights_are_told(detector, photos, stand_in, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stand_in, "one", lambda self, pixels: Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long()))
    settings = {"model.test_cfg.score_thr": 0.99}
    found = export_detector(detector[0], None, tmp_path / "a.onnx", [str(photos[0])], settings)
    assert "no checkpoint is given: its weights are random" in capsys.readouterr().err
    assert "no box on 1 photos, and so in the file" in str(found)
    assert found.about["origin"]["checkpoint"] is None


def command(*arguments):
    return main(Call([*map(str, arguments)], "gemnet", "gemnet export", ROOT))


def told(capsys, *arguments):
    """What a command that fails says."""
    assert command(*arguments) == 1
    return capsys.readouterr().err


def test_wrong_paths_are_told_before_any_work(detector, tmp_path, capsys):
    config, checkpoint = detector
    assert f"{tmp_path}/none: no such directory; expected the work directory" in told(capsys, tmp_path / "none")
    assert "none.py: no such config" in told(capsys, tmp_path / "none.py")
    assert "none.pth: no such checkpoint" in told(capsys, config, tmp_path / "a.onnx", "--checkpoint", tmp_path / "none.pth")
    assert "a.pt: a detector's file for onnx ends with .onnx" in told(
        capsys, config, tmp_path / "a.pt", "--checkpoint", checkpoint
    )
    error = told(capsys, config, tmp_path / "a.onnx", "--checkpoint", checkpoint, "--images", tmp_path / "none.jpg")
    assert "none.jpg: no such image or folder" in error
    assert not list(tmp_path.iterdir())


def test_a_directory_without_a_trained_detector_is_told(detector, tmp_path, capsys):
    assert "has no detector.py; expected the work directory of a finished gemnet detect" in told(capsys, tmp_path)
    (tmp_path / "detector.py").write_text(Path(detector[0]).read_text())
    assert "has no best.pth" in told(capsys, tmp_path)
    (tmp_path / "best.pth").write_bytes(b"no weights")
    assert "best.pth" in told(capsys, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"detector.py", "best.pth"}


def test_a_checkpoint_of_other_classes_is_told(detector, tmp_path, capsys):
    state = torch.load(detector[1], weights_only=True)
    state["meta"]["dataset_meta"]["classes"] = ("red", "blue")
    torch.save(state, tmp_path / "other.pth")
    error = told(capsys, detector[0], tmp_path / "a.onnx", "--checkpoint", tmp_path / "other.pth")
    assert "num_classes=3" in error
    assert "2 classes" in error
    assert [path.name for path in tmp_path.iterdir()] == ["other.pth"]


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody writes to")
def test_a_folder_that_cannot_be_written_is_told_with_the_remedy(detector, capsys):
    error = told(capsys, detector[0], "/sys/kernel/a.onnx", "--checkpoint", detector[1])
    assert "/sys/kernel/a.onnx: " in error
    assert "name a directory that can be written with another OUT" in error


def test_a_full_disk_is_told_and_leaves_nothing(detector, photos, stand_in, tmp_path, capsys, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(detector_onnx, "write_onnx", full)
    out = tmp_path / "out" / "a.onnx"
    error = told(capsys, detector[0], out, "--checkpoint", detector[1], "--images", photos[0])
    assert f"{out}: No space left on device; free some space" in error
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize("module", ["onnx", "onnxruntime", "onnxscript"])
def test_a_library_that_is_not_installed_is_told_with_its_extra(module, detector, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"{module} is not installed; .*gemnet\[export\]"):
        export_detector(*detector, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("detector.py", "--num-classes", 3), "--num-classes is not for detectors"),
        (("a.py", "--to", "coreml"), "--to coreml: is not offered; expected onnx, openvino, ncnn"),
        (("gemnet_a", "a.onnx", "--cfg-options", "image_size=64"), "--cfg-options is for a work directory or a config"),
        (("gemnet_a", "a.onnx", "--record", "a"), "--record for detectors: give one"),
    ],
)
def test_arguments_that_do_not_go_together_are_told(arguments, message, detector, monkeypatch, capsys):
    monkeypatch.chdir(Path(detector[0]).parent)
    with pytest.raises(SystemExit) as stopped:
        command(*arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def built(kind, changes, tmp_path):
    """A small detector with some settings changed."""
    CELL.save(tmp_path / "cell.json")
    settings = engine.load_config(str(ROOT / f"configs/{kind}_gemnet_a.py"))
    engine.merge(settings, options(kind, tmp_path / "cell.json"))
    engine.complete(settings)
    settings.merge_from_dict(changes)
    if not DefaultScope.check_instance_created("test_mmdet"):
        DefaultScope.get_instance("test_mmdet", scope_name="mmdet")
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(settings.model).eval()


ANCHORS = {"ratios": [1.0], "octave_base_scale": 8, "scales_per_octave": 1, "strides": [8, 16, 32]}
ATSS = {
    "_delete_": True, "type": "ATSSHead", "num_classes": 3, "in_channels": 16, "feat_channels": 16,
    "anchor_generator": {"type": "AnchorGenerator", **ANCHORS}, "norm_cfg": {"type": "BN"},
}  # fmt: skip
POOLING = {"_delete_": True, "type": "RoIPool", "output_size": 7}
REFUSED = [
    ("rtmdet", {"model.test_cfg.nms.type": "soft_nms"}, r"model\.bbox_head: nms=.*soft_nms.* cannot be exported"),
    ("rtmdet", {"model.test_cfg.nms.class_agnostic": True}, r"nms=.*class_agnostic"),
    ("rtmdet", {"model.test_cfg.max_per_img": -1}, "max_per_img=-1 cannot be exported"),
    ("rtmdet", {"model.bbox_head": ATSS}, "ATSSHead has more than scores and boxes, as centerness"),
    ("faster_rcnn", {"model.roi_head.bbox_roi_extractor.roi_layer": POOLING}, "is not RoIAlign's"),
]


@pytest.mark.parametrize(("kind", "changes", "message"), REFUSED)
def test_a_detector_that_computes_its_boxes_otherwise_is_refused_by_the_part(kind, changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        exportable(built(kind, changes, tmp_path), (96, 96))


def test_steps_of_a_pipeline_that_are_not_known_are_refused_by_name(detector):
    predictor = Predictor(engine.load_config(detector[0]), detector[1], "cpu")
    steps, preprocessor = list(predictor.pipeline.transforms), predictor.model.data_preprocessor
    from mmdet.datasets.transforms import Pad, RandomFlip, Resize

    for changed, message in (
        ([RandomFlip(0.5), *steps], "the test pipeline's RandomFlip cannot be exported"),
        ([step for step in steps if not isinstance(step, Resize)], "no Resize with a scale of two numbers"),
        ([Resize(scale=(96, 96), interpolation="nearest")], "interpolation='nearest'"),
        ([Resize(scale_factor=0.5)], "no Resize with a scale of two numbers"),
        ([Resize(scale=(96, 96)), Pad(pad_to_square=True)], "the test pipeline's Pad cannot be exported"),
        ([Resize(scale=(96, 96)), Pad(size=(96, 96), pad_val={"img": (1, 2, 3)})], "one grey"),
    ):
        with pytest.raises(UserError, match=message):
            preprocessing(changed, preprocessor)


@pytest.fixture
def work_dir(detector, tmp_path):
    place = tmp_path / "work"
    place.mkdir()
    for name, path in zip(("detector.py", "best.pth"), detector, strict=True):
        (place / name).write_bytes(Path(path).read_bytes())
    return place


@pytest.mark.parametrize(
    ("result", "expected"), [('{"score": 0.45}', 0.45), ('{"score": 7}', 1.0), ("broken", 0.3), ('{"score": null}', 0.3)]
)
def test_a_work_directorys_file_has_the_threshold_that_was_best(result, expected, work_dir, stand_in, photos):
    (work_dir / "result.json").write_text(result)
    found = export_own_detector(work_dir, images=[str(photos[0])])
    assert found.about["score_threshold"] == expected
    assert (found.path, found.runner) == (work_dir / "detector.onnx", work_dir / "run_detector.py")


def test_a_trained_detector_is_not_lost_where_the_export_fails(work_dir, monkeypatch):
    def full(*given, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "export_detector", full)
    found = export_if_possible(work_dir, 0.4)
    assert found == {"failed": "[Errno 28] No space left on device"}
    told = export_told(work_dir, found)
    assert f"the detector is safe in best.pth. Mend that, then: gemnet export {work_dir}" in told
    assert (work_dir / "best.pth").is_file()


def test_what_was_exported_is_told_with_the_line_that_runs_it(work_dir, stand_in):
    found = export_if_possible(work_dir, 0.4)
    assert (found["file"], found["script"], found["photos"]) == ("detector.onnx", "run_detector.py", 3)
    assert found["bytes"] == len("network")
    told = export_told(work_dir, found)
    assert f"run it anywhere: python {work_dir / 'run_detector.py'} photo.jpg" in told
    assert f"{found['boxes']} boxes on 3 photos" in told
