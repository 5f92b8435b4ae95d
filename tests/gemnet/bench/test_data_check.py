"""The benchmark of the check of a data set: it makes photos that the check finds healthy, and leaves nothing."""

import tempfile

from gemnet.bench import data_check
from gemnet.bench.data_check import measure_check


def test_made_photos_are_healthy_and_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = []
    check = data_check.check
    monkeypatch.setattr(data_check, "check", lambda root: found.append(check(root)) or found[0])
    time = measure_check(6)
    assert found[0].healthy
    assert sum(found[0].images.values()) == 6
    assert sum(map(sum, found[0].boxes.values())) == 6 * data_check.BOXES
    assert [finding.kind for finding in found[0].doubtful] == ["classes with fewer than 20 boxes to train on"]
    assert time.images == 6
    assert time.wall > 0
    assert time.megabytes > 0.01
    assert str(time).startswith("6 photos of 640x480 (")
    assert list(tmp_path.iterdir()) == []
