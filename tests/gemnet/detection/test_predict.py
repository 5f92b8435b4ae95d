"""tools/predict.py: each image costs itself alone, what was done stays, and nothing of the user's is overwritten."""

import errno
import json
import os
import re
import runpy
import signal
import sys
from pathlib import Path

import pytest
import torch
from made_checkpoint import FOLDER, RETINANET, SMALL, write_checkpoint
from PIL import Image

from gemnet.checkpoints.meta import checkpoint_recipe
from gemnet.core.errors import DataError, UserError
from gemnet.detection import prediction_files
from gemnet.detection.predict import predict
from gemnet.detection.prediction_files import find_images
from gemnet.detection.predictor import Prediction, Predictor
from gemnet.openmmlab import engine
from gemnet.openmmlab.recipe import adopt_image_size

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A detector of red and blue, whose config says nothing of them."""
    path = tmp_path_factory.mktemp("detector") / "epoch_1.pth"
    options = {"model.bbox_head.num_classes": 2}
    return write_checkpoint(path, RETINANET, options, ("red", "blue"), [(255, 0, 0), (0, 0, 255)])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "epoch_1.pth"
    return write_checkpoint(path, FOLDER, {"model.head.num_classes": 7}, tuple("abcdefg"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (60, 40), (80 * number, 0, 0)).save(folder / f"{number}.png")
    return folder


def records(folder):
    found = json.loads((folder / "predictions.json").read_text())
    assert [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()] == found
    return found


def tool(monkeypatch, *arguments):
    """The exit code of tools/predict.py with these arguments."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "tools/predict.py"), run_name="__main__")
    return stopped.value.code


def test_thin_broken_and_huge_images_cost_themselves_alone_and_the_exit_code_tells(
    detector, photos, tmp_path, monkeypatch, capsys
):
    sizes = ((40, 2), (2, 40), (1, 1), (900, 2), (2, 900), (70000, 1))
    for width, height in sizes:
        Image.new("RGB", (width, height)).save(photos / f"{width}x{height}.png")
    (photos / "broken.jpg").write_bytes(b"broken")
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "nowhere.jpg").symlink_to("gone.jpg")
    options = [f"{key}={value}".replace(" ", "") for key, value in SMALL.items()]
    code = tool(
        monkeypatch, RETINANET, detector, photos, "--out-dir", tmp_path / "out", "--score", 0, "--cfg-options", *options
    )
    assert code == 1
    error = capsys.readouterr().err
    done = {Path(record["image"]).name: (record["width"], record["height"]) for record in records(tmp_path / "out")}
    assert done == {f"{n}.png": (60, 40) for n in range(3)} | {"40x2.png": (40, 2), "2x40.png": (2, 40), "1x1.png": (1, 1)}
    for name in ("broken.jpg", "empty.jpg", "nowhere.jpg"):
        assert re.search(rf"predict: .*{name}: ", error)
    assert "on_error" not in error  # a remedy of training
    assert "900x2.png: the model or its pipeline fails on this image of 2x900 pixels" in error
    assert "Traceback" not in error


def test_all_images_done_is_told_by_exit_code_0(detector, photos, tmp_path, monkeypatch):
    options = [f"{key}={value}".replace(" ", "") for key, value in SMALL.items()]
    arguments = (RETINANET, detector, photos, "--out-dir", tmp_path / "out", "--cfg-options", *options)
    assert tool(monkeypatch, *arguments) == 0
    assert len(records(tmp_path / "out")) == 3


def test_names_and_colours_of_objects_are_the_checkpoints(detector, photos, tmp_path):
    """The config has data sets without names; COCO's first two would be person and bicycle."""
    predict(RETINANET, detector, [str(photos)], str(tmp_path / "out"), 0.0, "cpu", SMALL)
    found = {found["class"] for record in records(tmp_path / "out") for found in record["objects"]}
    assert found <= {"red", "blue"} != set()
    predictor = Predictor(engine.load_config(RETINANET, SMALL), detector, "cpu")
    assert (predictor.classes, predictor.colour(1)) == (("red", "blue"), (0, 0, 255))


def test_a_classifier_tells_the_five_likeliest_classes(classifier, photos, tmp_path):
    """It needs neither the training images, from whose folders the config has its classes, nor pictures."""
    assert predict(FOLDER, classifier, [str(photos)], str(tmp_path / "out"), device="cpu") == 0
    predictor = Predictor(engine.load_config(FOLDER), classifier, "cpu")
    for record in records(tmp_path / "out"):
        assert (record["width"], record["height"]) == (60, 40)
        data = predictor.pipeline({"img_path": record["image"]})
        images = predictor.model.data_preprocessor({"inputs": [data["inputs"]]})["inputs"]
        with torch.no_grad():
            expected = predictor.model(images, mode="tensor")[0].softmax(0)
        order = expected.argsort(descending=True)[:5].tolist()
        assert [found["class"] for found in record["classes"]] == ["abcdefg"[label] for label in order]
        assert [found["score"] for found in record["classes"]] == pytest.approx(expected[order].tolist(), abs=1e-4)
    assert not list((tmp_path / "out").glob("*.jpg"))


def trained_with(path, checkpoint, config, options, text=None):
    """The checkpoint as a training with these options wrote it, with the text of the config."""
    content = torch.load(checkpoint, weights_only=True)
    content["meta"]["cfg"] = engine.load_config(config, options).pretty_text if text is None else text
    torch.save(content, path)
    return str(path)


def sizes_of_images(monkeypatch):
    """Heights and widths of the images that models get, as they get them."""
    found = []
    build = Predictor.__init__

    def watched(self, *arguments):
        build(self, *arguments)
        step = self.model.test_step
        self.model.test_step = lambda data: (found.append(tuple(data["inputs"][0].shape[1:])), step(data))[1]

    monkeypatch.setattr(Predictor, "__init__", watched)
    return found


def test_a_classifier_sees_images_of_the_size_it_was_trained_with(classifier, photos, tmp_path, monkeypatch, capsys):
    found = sizes_of_images(monkeypatch)
    file = trained_with(tmp_path / "epoch_3.pth", classifier, FOLDER, {"image_size": 32, "epochs": 3})
    predict(FOLDER, file, [str(photos / "0.png")], str(tmp_path / "out"), device="cpu")
    assert f"predict: image_size=32, as the checkpoint was trained, not 224 as in {FOLDER}\n" in capsys.readouterr().err
    for options in ({"image_size": 64}, {"test_dataloader.dataset.pipeline.2.crop_size": 48}):
        predict(FOLDER, file, [str(photos / "0.png")], str(tmp_path / "out"), device="cpu", options=options)
        assert "image_size" not in capsys.readouterr().err
    assert found == [(32, 32), (64, 64), (48, 48)]


def test_a_detector_sees_images_of_the_size_it_was_trained_with(detector, photos, tmp_path, monkeypatch, capsys):
    found = sizes_of_images(monkeypatch)
    file = trained_with(tmp_path / "epoch_3.pth", detector, RETINANET, {"image_size": [96, 64]})
    predict(RETINANET, file, [str(photos / "0.png")], str(tmp_path / "out"), device="cpu")
    assert found == [(64, 96)]
    assert "predict: image_size=[96, 64], as the checkpoint was trained, not (1333, 800)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["", "recipe = None", "recipe = dict(image_size=open('made', 'w'))", "recipe = dict(image_size='big', epochs=1)", "((",
     "recipe = dict(image_size=224)", "recipe = dict(**other)", "recipe = {1: 2, **{}}", "a = 1\0", "(" * 5000, 7, None],
)  # fmt: skip
def test_a_checkpoint_that_tells_no_other_size_changes_nothing_and_nothing_of_it_is_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"meta": {"cfg": text}, "state_dict": {"a": torch.ones(1)}}, "a.pth")
    settings = engine.load_config(FOLDER)
    before = settings.to_dict()
    line = adopt_image_size(settings, checkpoint_recipe("a.pth"))
    assert settings.to_dict() == before
    assert (line is None) != ("big" in str(text))
    assert not Path("made").exists()


def test_the_numbers_of_a_training_are_read_from_its_config(tmp_path):
    config = engine.load_config(RETINANET, {"image_size": [96, 64], "data_root": "photos"})
    torch.save({"meta": {"cfg": config.pretty_text}, "state_dict": {"a": torch.ones(1)}}, tmp_path / "a.pth")
    found = checkpoint_recipe(tmp_path / "a.pth")
    assert list(found["image_size"]) == [96, 64]
    assert found == config.recipe.to_dict()
    torch.save({"a": torch.ones(1)}, tmp_path / "b.pth")
    assert checkpoint_recipe(tmp_path / "b.pth") == {}


@pytest.mark.parametrize("options", [{}, {"test_dataloader.dataset.pipeline.2.crop_size": 48}])
def test_testing_takes_the_size_of_the_training_too(options, classifier, tmp_path, monkeypatch, capsys):
    file = trained_with(tmp_path / "epoch_3.pth", classifier, FOLDER, {"image_size": 32})
    settings = []

    class Stopped(Exception):
        pass

    def stop(config, launcher):
        settings.append(config)
        raise Stopped

    monkeypatch.setattr(engine, "build_runner", stop)
    with pytest.raises(Stopped):
        engine.evaluate(FOLDER, file, str(tmp_path / "work"), options=options)
    told = capsys.readouterr().err
    assert ("test: image_size=32, as the checkpoint was trained, not 224" in told) == (not options)
    crop = settings[0].test_dataloader.dataset.pipeline[2]
    assert crop.crop_size == (48 if options else 32)


def test_pictures_of_a_classifier_are_written_when_asked_for(classifier, photos, tmp_path):
    predict(FOLDER, classifier, [str(photos)], str(tmp_path / "out"), device="cpu", pictures=True)
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 3


@pytest.mark.parametrize(
    ("options", "classes", "message"),
    [
        ({"test_dataloader.dataset.metainfo": {"classes": ("blue", "red")}}, ("red", "blue"), "another order of classes"),
        ({"train_dataloader.dataset.metainfo": {"classes": ("red", "cell")}}, ("red", "blue"), "has other classes"),
        ({"val_dataloader.dataset.metainfo": {"classes": ("red",)}}, ("red", "blue"), "has 1 classes, not 2"),
        ({"model.bbox_head.num_classes": 3}, ("red", "blue"), r"model\.bbox_head\.num_classes=3, but .* has 2 classes"),
    ],
)
def test_a_config_and_a_checkpoint_that_differ_in_classes_are_refused(options, classes, message, detector, photos, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        predict(RETINANET, detector, [str(photos)], str(tmp_path / "out"), options={**SMALL, **options})
    assert detector in str(error.value)


@pytest.mark.parametrize("split", ["train", "val", "test", None])
def test_without_names_in_the_checkpoint_the_config_has_them_or_they_are_numbered_aloud(split, photos, tmp_path, capsys):
    options = {**SMALL, "model.bbox_head.num_classes": 2}
    checkpoint = write_checkpoint(tmp_path / "plain.pth", RETINANET, options)
    if split is not None:
        options[f"{split}_dataloader.dataset.metainfo"] = {"classes": ("cell", "mote")}
    predict(RETINANET, checkpoint, [str(photos)], str(tmp_path / "out"), 0.0, "cpu", options)
    found = {found["class"] for record in records(tmp_path / "out") for found in record["objects"]}
    assert found <= ({"0", "1"} if split is None else {"cell", "mote"})
    assert ("has no names of classes" in capsys.readouterr().err) == (split is None)


class Fake(Predictor):
    """A predictor that finds nothing, and does `act` at the second image."""

    classes = ("a",)

    def __init__(self, act):
        self.act, self.calls = act, 0

    def __call__(self, path):
        self.calls += 1
        if self.calls == 2:
            self.act()
        return Prediction([], [], [], (40, 60))


@pytest.fixture
def faked(monkeypatch, photos, tmp_path):
    """Predict with a model that does something at the second image."""

    def run(act):
        monkeypatch.setattr("gemnet.detection.predict.Predictor", lambda *args: Fake(act))
        return predict(RETINANET, "none.pth", [str(photos)], str(tmp_path / "out"))

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_was_done_stays_when_a_run_is_stopped(number, faked, tmp_path, capsys):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        faked(lambda: os.kill(os.getpid(), number))
    assert len(records(tmp_path / "out")) == 1
    assert f"1 of 3 images are done, in {tmp_path}/out/predictions.json" in capsys.readouterr().err
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("what", ["picture", "line"])
def test_a_full_disk_stops_the_run_and_what_was_done_stays(what, faked, tmp_path, monkeypatch):
    def full():
        def fail(*args, **kwargs):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "disk")

        if what == "picture":
            monkeypatch.setattr(Image.Image, "save", fail)
        else:
            monkeypatch.setattr(prediction_files.Results, "write", fail)

    with pytest.raises(DataError, match=r"disk: No space left on device; what was done before is in"):
        faked(full)
    assert len(records(tmp_path / "out")) == 1


def test_a_line_that_is_cut_off_is_taken_back(tmp_path, monkeypatch):
    write = prediction_files.Results.write

    def half(self, line):
        return write(self, line[: len(line) // 2])

    with prediction_files.Results(tmp_path) as results:
        results.add({"image": "a"})
        monkeypatch.setattr(prediction_files.Results, "write", half)
        with pytest.raises(OSError, match="No space left"):
            results.add({"image": "b"})
    assert records(tmp_path) == [{"image": "a"}]


def test_an_error_of_the_model_costs_the_image(faked, tmp_path, capsys):
    def fail():
        raise RuntimeError("out of memory\nmore")

    assert faked(fail) == 1
    assert len(records(tmp_path / "out")) == 2
    assert re.search(r"1\.png: the model .* fails on this image of 40x60 pixels .*: out of memory\n", capsys.readouterr().err)


def test_output_names_never_meet(tmp_path):
    for name in ("a.png", "a.jpg", "A.bmp", "a_2.png", "sub/a.png", "sub.jpg/a.png", "sub.png", "\u00e9.png", "e\u0301.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / name)
    named, _ = find_images([str(tmp_path / "in"), str(tmp_path / "in/a.png"), str(tmp_path / "in/sub/a.png")], tmp_path / "out")
    names = [name for _, name in named]
    assert len(named) == len({path for path, _ in named}) == 9
    assert len({name.casefold() for name in names}) == 9
    folders = {str(parent) for name in names for parent in Path(name).parents}
    assert not {f"{name}.jpg" for name in names} & folders


def test_inputs_are_never_overwritten(tmp_path, photos):
    Image.new("RGB", (4, 4)).save(photos / "3.jpg")
    (tmp_path / "link").symlink_to(photos)
    for out in (photos, photos / "../photos", tmp_path / "link"):
        with pytest.raises(DataError, match="is a folder of inputs; expected another"):
            find_images([str(photos)], out)
        with pytest.raises(DataError, match=r"would overwrite an input, .*3\.jpg"):
            find_images([str(photos / "3.jpg")], out)


def test_an_output_folder_in_the_input_folder_is_passed_over_aloud(photos):
    out = photos / "found"
    out.mkdir()
    Image.new("RGB", (4, 4)).save(out / "0.jpg")
    named, told = find_images([str(photos)], out)
    assert [path.name for path, _ in named] == ["0.png", "1.png", "2.png"]
    assert told == [f"{photos}: 1 images below --out-dir {out} passed over"]
    with pytest.raises(DataError, match="no images besides those below --out-dir"):
        find_images([str(out)], photos / "../photos/found/../found/..")


def test_files_that_are_no_images_are_passed_over_aloud(photos, capfd):
    (photos / "notes.txt").write_text("notes")
    (photos / "film.mp4").write_bytes(b"\0\0\0 ftypisom")
    assert len(find_images([str(photos)], photos / "out")[0]) == 3
    error = capfd.readouterr().err
    assert "2 files are passed over" in error
    assert "film.mp4 (a video" in error


@pytest.mark.parametrize("score", [float("nan"), -0.1, 1.1, float("inf")])
def test_a_score_that_cannot_be_is_refused(score, photos, tmp_path):
    with pytest.raises(UserError, match=f"--score {score}: expected a number from 0 to 1"):
        predict(RETINANET, "none.pth", [str(photos)], str(tmp_path), score)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu:x"])
def test_a_device_that_cannot_be_used_is_refused_in_one_line(device, detector, photos, tmp_path):
    with pytest.raises(UserError, match=f"--device {device}: cannot be used .*expected cpu") as error:
        predict(RETINANET, detector, [str(photos)], str(tmp_path / "out"), device=device)
    assert "\n" not in str(error.value)
