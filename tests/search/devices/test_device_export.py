"""Candidates as files for a device, timed by the scripts beside them, and their times read again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from studies import proposal

from gemnet.cell import Cell
from search.configuration.sections import evaluation_part
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.efficiency import efficiency_score
from search.core.types import Evaluation, Outcome, SearchError
from search.devices.export import export_devices
from search.devices.times import read_times
from search.record.study import Study

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = {"space.num_nodes": 8, "model.target_macs": 40e6, "model.target_params": None}
ADB = """#!/bin/sh
# stands in for adb: the device is a folder of this machine
case $1 in
  push) cp "$2" "$3" ;;
  shell) shift; sh -c "$*" ;;
esac
"""
BENCHMARK = """#!{python}
import sys
sys.path.insert(0, {folder!r})
print("Session creation time cost:0.1 s")
print("P50 Latency: 0.00" + str(1 + len(open(sys.argv[-1], "rb").read()) % 7) + " s")
"""


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory):
    """A search with three evaluated cells."""
    directory = tmp_path_factory.mktemp("search")
    settings = load_settings(ROOT / "configs/search/digits.py", OPTIONS)
    settings.pop("executor")
    with Study(directory, settings, evaluation_part(settings)) as study:
        study.propose(0, [proposal(i) for i in range(3)], {})
        for record in study.records():
            outcome = Outcome(record.id, Evaluation(0.5 + 0.1 * record.id, (0.5,), False, 0.1))
            accuracy = outcome.evaluation.accuracy
            study.finish(outcome, float(efficiency_score(accuracy, record.cost, settings["penalty"])))
    return directory


@pytest.fixture(scope="module")
def folder(work_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "phone"
    assert export_devices(work_dir, folder, top=2, form="torchscript", random=1, display=Display(quiet=True)) == 3
    return folder


def run(*command, **environment):
    environment = {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **environment}
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, check=False)


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_the_manifest_tells_of_each_file_what_it_is(folder):
    manifest = manifest_of(folder)
    assert manifest["format"] == "gemnet.device_candidates"
    assert manifest["input"] == [1, 3, 224, 224]
    for digest, entry in manifest["entries"].items():
        cell = Cell(tuple(entry["nodes"]), tuple(map(tuple, entry["edges"])))
        assert cell.digest() == digest
        assert (folder / entry["file"]).is_file()
    assert not (folder / ".part").exists()


def test_an_export_that_was_stopped_goes_on(work_dir, folder):
    entries = manifest_of(folder)["entries"]
    kept, lost = (folder / entry["file"] for entry in list(entries.values())[:2])
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.write_bytes(content[:100])
    export_devices(work_dir, folder, top=2, form="torchscript", random=1, display=Display(quiet=True))
    assert kept.stat().st_mtime_ns == before
    assert lost.stat().st_size > 100


def test_the_script_times_them_without_this_package_and_its_file_is_read(folder):
    ended = run(sys.executable, "-S", folder / "time_models.py", "--help")
    assert ended.returncode == 0, ended.stderr
    ended = run(sys.executable, folder / "time_models.py", "--rounds", 2, "--passes", 2, "--device", "Here", "--clock", "cpu")
    assert ended.returncode == 0, ended.stderr
    times = read_times(folder / "times.json")
    assert (times.device, times.runtime, times.threads, times.clock) == ("Here", "torchscript", 1, "cpu")
    assert times.cells.keys() == manifest_of(folder)["entries"].keys()


def test_a_file_that_is_not_as_it_was_exported_is_not_timed(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    damaged = next(copy.glob("*.pt"))
    damaged.write_bytes(b"other")
    ended = run(sys.executable, copy / "time_models.py")
    assert ended.returncode == 1
    assert f"{damaged.name}: is not the file that was exported; copy it again" in ended.stderr
    damaged.unlink()
    ended = run(sys.executable, copy / "time_models.py")
    assert (ended.returncode, "No such file" in ended.stderr) == (1, True)


def as_onnx(folder, target):
    """The same folder as an export to ONNX would leave it; the files are not opened by the stand-in."""
    target.mkdir()
    manifest = manifest_of(folder)
    manifest["runtime"] = "onnx"
    for entry in manifest["entries"].values():
        name = entry["file"].replace(".pt", ".onnx")
        (target / name).write_bytes((folder / entry["file"]).read_bytes())
        entry["files"] = {name: entry["files"][entry["file"]]}
        entry["file"] = name
    (target / "manifest.json").write_text(json.dumps(manifest))
    (target / "time_models.py").write_bytes((folder / "time_models.py").read_bytes())
    script = (folder / "time_adb.sh").read_text().replace("RUNTIME='torchscript' ENDING='.pt'", "RUNTIME='onnx' ENDING='.onnx'")
    (target / "time_adb.sh").write_text(script)
    return target


@pytest.fixture
def device(folder, tmp_path):
    """A folder for ONNX Runtime, a stand-in for adb, and one for the benchmark of the runtime."""
    for name, text in (("adb", ADB), ("onnxruntime_perf_test", BENCHMARK.format(python=sys.executable, folder=str(tmp_path)))):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return as_onnx(folder, tmp_path / "phone")


def through_adb(device, **environment):
    parent = device.parent
    places = {"ADB": str(parent / "adb"), "PLACE": str(parent / "device"), "ROUNDS": "3"}
    return run("sh", device / "time_adb.sh", parent / "onnxruntime_perf_test", "Made phone", **places, **environment)


def test_times_come_back_through_adb(device):
    ended = through_adb(device)
    assert ended.returncode == 0, ended.stderr
    times = read_times(device / "times.json")
    assert (times.device, times.runtime) == ("Made phone", "onnx")
    entries = json.loads((device / "times.json").read_text())["entries"]
    for digest, entry in manifest_of(device)["entries"].items():
        assert times.milliseconds[digest] == 1 + (device / entry["file"]).stat().st_size % 7
        assert (entries[digest]["runs"], entries[digest]["spread"]) == (60, 0)


def test_a_device_that_was_restless_is_told(device):
    logs = device / "logs"
    logs.mkdir()
    for entry in manifest_of(device)["entries"].values():
        for index, seconds in enumerate((0.010, 0.012, 0.014)):
            (logs / f"{Path(entry['file']).stem}.{index}.txt").write_text(f"P50 Latency: {seconds} s\n")
    ended = run(sys.executable, device / "time_models.py", "--from-logs", logs)
    assert ended.returncode == 0, ended.stderr
    assert "half of the times differ by over 17% between the quartiles of the rounds: the device was busy" in ended.stderr
    for entry in manifest_of(device)["entries"].values():
        (logs / f"{Path(entry['file']).stem}.2.txt").unlink()
        (logs / f"{Path(entry['file']).stem}.1.txt").write_text("P50 Latency: 0.0101 s\n")
    assert run(sys.executable, device / "time_models.py", "--from-logs", logs).stderr == ""
    for log in logs.iterdir():
        log.write_text("P50 Latency: 0 s\n")  # which the search refuses
    assert run(sys.executable, device / "time_models.py", "--from-logs", logs).stderr == ""


def test_a_benchmark_that_fails_on_the_device_is_told_with_what_it_said(device):
    (device.parent / "onnxruntime_perf_test").write_text("#!/bin/sh\necho no such operator >&2\nexit 3\n")
    ended = through_adb(device)
    assert ended.returncode == 1
    assert "the benchmark failed on the device" in ended.stderr
    assert "no such operator" in ended.stderr
    (device.parent / "onnxruntime_perf_test").write_text("#!/bin/sh\necho nothing timed\n")
    ended = through_adb(device)
    assert ended.returncode == 1
    assert "no time in it" in ended.stderr


def test_what_cannot_be_exported_is_told(work_dir, folder, tmp_path):
    with pytest.raises(SearchError, match="unknown runtime 'onx'; did you mean 'onnx'"):
        export_devices(work_dir, tmp_path / "new", form="onx")
    with pytest.raises(SearchError, match="holds networks for torchscript or of another size; name another folder"):
        export_devices(work_dir, folder, form="onnx")
    (tmp_path / "file.txt").write_text("mine")
    with pytest.raises(SearchError, match="holds other files; name another folder with --out"):
        export_devices(work_dir, tmp_path, form="torchscript")
    with pytest.raises(SearchError, match="no cell to export"):
        export_devices(work_dir, tmp_path / "none", top=0)
