"""Videos and cameras: each frame is predicted on as a photo is, and what was done stays."""

import csv
import json
import os
import shutil
import sys

import cv2
import numpy as np
import pytest
from made_checkpoint import FOLDER, RETINANET, SMALL, write_checkpoint

from gemnet.core.errors import DataError, UserError
from gemnet.detection import videos, watching
from gemnet.detection.own_detector.use import predict_on
from gemnet.detection.predict import predict
from gemnet.detection.predictor import Predictor
from gemnet.detection.videos import Video, VideoWriter, is_video
from gemnet.detection.watching import Watching, video_targets
from gemnet.openmmlab.engine import load_config

FRAMES, RATE, SIZE = 6, 12.0, (48, 64)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "epoch_1.pth"
    return write_checkpoint(path, RETINANET, {"model.bbox_head.num_classes": 2}, ("red", "blue"))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A square that wanders."""
    path = tmp_path_factory.mktemp("videos") / "street.mp4"
    with VideoWriter(path, RATE) as writer:
        for number in range(FRAMES):
            image = np.full((*SIZE, 3), 40, np.uint8)
            image[10:30, 5 * number : 5 * number + 20] = (0, 0, 255)
            writer.add(image)
    return path


def run(detector, sources, out, **settings):
    watched = Watching(**settings)
    return predict(RETINANET, detector, [*map(str, sources)], str(out), 0.0, "cpu", SMALL, watching=watched)


def lines(out):
    found = json.loads((out / "predictions.json").read_text())
    assert [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()] == found
    return found


def test_a_video_is_read_back_as_it_was_written(video):
    with Video(str(video)) as opened:
        assert (opened.rate, opened.frames, opened.live) == (RATE, FRAMES, False)
        frames = list(opened)
    assert [frame.index for frame in frames] == list(range(FRAMES))
    assert [frame.seconds for frame in frames] == pytest.approx([number / RATE for number in range(FRAMES)])
    for number, frame in enumerate(frames):
        red = np.argwhere(frame.image[..., 2] > 150)
        assert red.min(0) == pytest.approx([10, 5 * number], abs=2)


def test_each_frame_has_the_boxes_that_its_picture_would_have(detector, video, tmp_path):
    assert run(detector, [video], tmp_path / "out") == 0
    records = lines(tmp_path / "out")
    assert [(one["image"], one["frame"]) for one in records] == [(str(video), number) for number in range(FRAMES)]
    predictor = Predictor(load_config(RETINANET, SMALL), detector, "cpu", SMALL)
    with Video(str(video)) as opened:
        for record, frame in zip(records, opened, strict=True):
            still = tmp_path / f"{frame.index}.png"
            cv2.imwrite(str(still), frame.image)
            assert record["objects"] == predictor.objects(predictor(still), 0.0)
            assert (record["height"], record["width"]) == SIZE
    with Video(str(tmp_path / "out/street.mp4")) as written:
        assert (written.frames, written.rate) == (FRAMES, RATE)


def test_every_second_frame_within_seconds(detector, video, tmp_path):
    assert run(detector, [video], tmp_path / "out", every=2, seconds=4.5 / RATE) == 0
    assert [one["frame"] for one in lines(tmp_path / "out")] == [0, 2, 4]
    with Video(str(tmp_path / "out/street.mp4")) as written:
        assert written.frames == 5  # those between keep the boxes


def test_photos_and_videos_together_and_no_two_of_one_name(detector, video, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(video, other / "street.mp4")
    photo = tmp_path / "street.png"
    cv2.imwrite(str(photo), np.zeros((40, 60, 3), np.uint8))
    out = tmp_path / "out"
    assert run(detector, [photo, video, other / "street.mp4"], out, every=FRAMES) == 0
    assert {path.name for path in out.iterdir()} == {
        "street.jpg", "street.mp4", "street_2.mp4", "predictions.json", "predictions.jsonl",
    }  # fmt: skip
    assert [one["image"] for one in lines(out)] == [str(photo), str(video), str(other / "street.mp4")]


def test_a_video_in_the_output_folder_is_not_overwritten(video, tmp_path):
    source = tmp_path / "street.mp4"
    shutil.copy(video, source)
    assert video_targets([str(source)], tmp_path) == [(str(source), tmp_path / "street_2.mp4")]


class Camera:
    """OpenCV's capture of a camera that gives three frames."""

    def __init__(self, number):
        self.number, self.given = number, 0

    def isOpened(self):
        return self.number == 1

    def get(self, what):
        return 0.0  # many cameras tell no rate

    def read(self):
        self.given += 1
        if self.given > 3:
            return False, None
        return True, np.full((*SIZE, 3), 60 * self.given, np.uint8)

    def release(self):
        pass


@pytest.fixture
def camera(monkeypatch):
    real = cv2.VideoCapture
    monkeypatch.setattr(videos.cv2, "VideoCapture", lambda what: Camera(what) if isinstance(what, int) else real(what))


def test_a_camera_is_watched_until_it_ends(detector, camera, tmp_path, capsys):
    assert run(detector, ["camera:1"], tmp_path / "out") == 0
    records = lines(tmp_path / "out")
    assert [one["image"] for one in records] == ["camera:1"] * 3
    assert [one["seconds"] for one in records] == sorted(one["seconds"] for one in records)
    assert "Ctrl-C ends and keeps what was done" in capsys.readouterr().err
    with Video(str(tmp_path / "out/camera_1.mp4")) as written:
        assert written.frames >= 3


def test_a_camera_that_is_not_there_is_told(detector, camera, tmp_path, capsys):
    assert run(detector, ["camera"], tmp_path / "out") == 1
    assert "camera: camera 0 cannot be opened; plug it in" in capsys.readouterr().err


def test_a_broken_missing_or_odd_video_costs_itself_alone(detector, video, tmp_path, capsys):
    broken, fifo, cut = tmp_path / "broken.mp4", tmp_path / "fifo.avi", tmp_path / "cut.mp4"
    broken.write_bytes(b"broken")
    os.mkfifo(fifo)
    cut.write_bytes(video.read_bytes()[:200])
    missing = tmp_path / "missing.mov"
    assert run(detector, [broken, video, fifo, missing, cut], tmp_path / "out", every=FRAMES) == 4
    error = capsys.readouterr().err
    assert "broken.mp4: cannot be read as a video; convert it, for example with: ffmpeg -i" in error
    assert "fifo.avi: is a FIFO, not a file" in error
    assert "missing.mov: No such file or directory" in error
    assert "cut.mp4: cannot be read as a video" in error
    assert [one["image"] for one in lines(tmp_path / "out")] == [str(video)]
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".mp4", ".json", ".jsonl"}  # nothing half written


def test_ctrl_c_keeps_the_frames_and_the_video_so_far(detector, video, tmp_path, monkeypatch, capsys):
    true = Predictor.on_pixels

    def stopped(self, image, name):
        if name.endswith("frame 3"):
            raise KeyboardInterrupt
        return true(self, image, name)

    monkeypatch.setattr(Predictor, "on_pixels", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(detector, [video], tmp_path / "out")
    assert [one["frame"] for one in lines(tmp_path / "out")] == [0, 1, 2]
    with Video(str(tmp_path / "out/street.mp4")) as written:
        assert written.frames == 3
    assert "3 frames or images are done" in capsys.readouterr().err


def test_a_video_that_was_not_written_whole_is_removed_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(VideoWriter, "_whole", lambda self: False)  # as on a full disk
    with (
        pytest.raises(OSError, match="could not be written whole; is the disk full"),
        VideoWriter(tmp_path / "a.mp4", 5) as writer,
    ):
        writer.add(np.zeros((32, 32, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_writer_fits_other_sizes_and_writes_nothing_without_frames(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 5) as writer:
        writer.add(np.zeros((32, 32, 3), np.uint8))
        writer.add(np.zeros((64, 32, 3), np.uint8), until=1.0)
    with Video(str(tmp_path / "a.mp4")) as opened:
        assert [frame.image.shape for frame in opened] == [(32, 32, 3)] * 5  # a second of 5 frames
    with VideoWriter(tmp_path / "none.mp4", 5):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_window_shows_the_frames_until_q(detector, video, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(watching.cv2, "imshow", lambda name, image: shown.append(image))
    monkeypatch.setattr(watching.cv2, "waitKey", lambda delay: ord("q") if len(shown) == 2 else -1)
    monkeypatch.setattr(watching.cv2, "destroyAllWindows", lambda: None)
    assert run(detector, [video], tmp_path / "out", show=True) == 0
    assert [image.shape for image in shown] == [(*SIZE, 3)] * 2
    assert len(lines(tmp_path / "out")) == 2


def test_without_a_display_a_window_is_refused(detector, video, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert run(detector, [video], tmp_path / "out", show=True) == 1
    assert "--show: there is no display here" in capsys.readouterr().err


def test_a_classifier_refuses_videos(video, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "epoch_1.pth", FOLDER, {"model.head.num_classes": 3}, tuple("abc"))
    with pytest.raises(UserError, match="videos are for detectors"):
        predict(FOLDER, checkpoint, [str(video)], str(tmp_path / "out"), device="cpu")


@pytest.mark.parametrize("settings", [{"every": 0}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(UserError, match="expected a number"):
        Watching(**settings)


def test_a_work_directory_predicts_on_a_video_with_csv_and_coco(detector, video, tmp_path):
    place = tmp_path / "work"
    place.mkdir()
    shutil.copy(detector, place / "best.pth")
    config = load_config(RETINANET, {**SMALL, "model.bbox_head.num_classes": 2})
    config.dump(place / "detector.py")
    out = tmp_path / "out"
    assert predict_on(str(place), [str(video)], str(out), 0.0, "cpu", Watching(every=3)) == 0
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert {(row["frame"], row["seconds"]) for row in rows} == {("0", "0.0"), ("3", "0.25")}
    coco = json.loads((out / "predictions.coco.json").read_text())
    assert [(one["file_name"], one["frame_id"]) for one in coco["images"]] == [(str(video), 0), (str(video), 3)]
    assert len(coco["annotations"]) == len(rows)


def test_what_counts_as_a_video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(map(is_video, ("a.MP4", "b.webm", "camera", "camera:12")))
    assert not any(map(is_video, ("a.jpg", "mp4", "camera:", "camera:x", "cameras")))
    (tmp_path / "camera").mkdir()
    assert not is_video("camera")  # a folder of that name is that folder
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read as a video"):
        Video("a.mp4")
