"""The wheel and the sdist: what is in them, and the wheel at work in another environment, from another directory."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from sysconfig import get_path

import pytest

import gemnet
from gemnet.cli.commands import COMMANDS
from gemnet.core.extras import EXTRAS
from gemnet.model_table import shipped_weights, weights_file

ROOT = Path(__file__).parents[1]
PARTS = ("gemnet", "search", "configs", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
BUILD = "from setuptools import build_meta as b; print(b.build_wheel('dist')); print(b.build_sdist('dist'))"


def built(folder):
    """The wheel and the sdist of the project in `folder`, built without isolation."""
    (folder / "dist").mkdir()
    result = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, result.stderr
    return tuple(next((folder / "dist").glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Of a clean copy of the project: builds leave folders behind that the next one takes over."""
    copy = tmp_path_factory.mktemp("project")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / part)
    return built(copy)


def names(wheel):
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_the_wheel_has_the_packages_with_their_configs_and_data_and_nothing_else(distributions):
    modules = {str(path.relative_to(ROOT)) for package in ("gemnet", "search") for path in (ROOT / package).rglob("*.py")}
    modules = {name for name in modules if not name.startswith("gemnet/.mim/")}
    configs = {f"gemnet/.mim/configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.py")}
    data = {f"gemnet/cells/gemnet_{arch}.json" for arch in "ab"} | {"search/report/template.html", "search/devices/time_adb.sh"}
    data |= {str(path.relative_to(ROOT)) for path in (ROOT / "gemnet/deploy/photos").iterdir()}
    weights = {str(weights_file(name).relative_to(ROOT)) for name in shipped_weights()}
    assert names(distributions[0]) == modules | configs | data | weights | {"search/experiments/svge/published.json"}
    assert distributions[0].stat().st_size < 1e6 + sum((ROOT / file).stat().st_size for file in weights)


def test_the_wheels_metadata_have_one_version_core_and_extras_and_the_command(distributions):
    archive = zipfile.ZipFile(distributions[0])
    (folder,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    metadata = message_from_bytes(archive.read(f"{folder}/METADATA"))
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == ("gemnet", gemnet.__version__, ">=3.10")
    core = {line.partition(">=")[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert core == {"networkx", "numpy", "pillow", "safetensors", "timm", "torch", "torchvision"}
    assert set(metadata.get_all("Provides-Extra")) == {"all", "test", *EXTRAS}
    assert archive.read(f"{folder}/entry_points.txt").decode().split() == [
        "[console_scripts]",
        "gemnet",
        "=",
        "gemnet.cli.main:main",
    ]


@pytest.mark.long
def test_the_sdist_makes_the_same_wheel(distributions, tmp_path):
    wheel, sdist = distributions
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
        assert all(member.isfile() or member.isdir() for member in members)
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # from Python 3.11.4 on
    (project,) = tmp_path.iterdir()
    assert not (project / "tests").exists()
    assert names(built(project)[0]) == names(wheel)


def test_nothing_of_the_packages_looks_above_them():
    """A wheel's packages lie beside those of others; a module that leaves its package by parents[n] would look there."""
    wrong = []
    for path in (path for package in ("gemnet", "search") for path in (ROOT / package).rglob("*.py")):
        depth = len(path.relative_to(ROOT).parents) - 1  # 1 for gemnet/x.py, whose parents[0] is the package
        wrong += [str(path) for n in range(depth, 9) if f"parents[{n}]" in path.read_text(encoding="utf-8")]
    assert not wrong


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """Runs a command in a fresh environment with the wheel, that sees this one's other packages, from another directory."""
    environment, away = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("away")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    library = Path(get_path("purelib", vars={"base": str(environment)}))
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin/python"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", distributions[0]], check=True)
    (library / "others.pth").write_text(get_path("purelib") + "\n")
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command, code=0):
        line = [str(environment / "bin" / command[0]), *map(str, command[1:])]
        result = subprocess.run(line, capture_output=True, text=True, cwd=away, env=outside)
        assert result.returncode == code, result.stderr
        return result.stdout + result.stderr

    run.away = away
    assert run("python", "-c", "import gemnet; print(gemnet.__file__)").startswith(str(environment))
    return run


@pytest.mark.long
def test_the_wheels_models_and_configs_are_used_from_another_directory(installed):
    (installed.away / "mine.py").write_text('_base_ = ["gemnet::retinanet_gemnet_a.py"]\n')
    (installed.away / "read.py").write_text(
        "import sys, gemnet, timm\n"
        "models = [sum(p.numel() for p in timm.create_model(f'gemnet_{arch}').parameters()) for arch in 'ab']\n"
        "assert not {'mmengine', 'mmcv', 'numba', 'onnx'} & set(sys.modules)\n"
        "from gemnet.openmmlab.engine import load_config\n"
        "from mmengine.registry import MODELS\n"
        "backbone = MODELS.build(load_config('mine.py').model.backbone)\n"
        "from search.configuration.settings import load_settings\n"
        "from gemnet.core.configs import config_path\n"
        "print(*models, list(backbone.out_channels), load_settings(config_path('digits', 'search'))['data']['type'])\n"
    )
    models = [sum(p.numel() for p in model.parameters()) for model in (gemnet.gemnet_a(), gemnet.gemnet_b())]
    told = installed("python", "-W", "ignore", "read.py").splitlines()[-1]
    assert told == " ".join(map(str, [*models, [272, 560, 1032], "digits"]))


def test_the_wheels_commands_run_from_another_directory(installed):
    text = installed("gemnet", "--help")
    assert all(f"  {name} " in text for name in COMMANDS)
    for name in COMMANDS:
        assert installed("gemnet", name, "--help").startswith(f"usage: gemnet {name} ")
    assert "usage: python -m gemnet train" in installed("python", "-m", "gemnet", "train", "--help")
    assert "M params" in installed("gemnet", "fit", "gemnet_a", "--target-macs", "3e8")


@pytest.mark.slow
def test_the_wheels_search_runs_from_another_directory(installed):
    small = [
        "space.num_nodes=6", "encoder.iterations=20", "encoder.dim=8", "proxy.epochs=1", "proxy.width=4", "predictor.steps=40",
        "search.start=4", "search.rounds=1", "search.batch=2", "search.draws=500", "search.top=1",
    ]  # fmt: skip
    installed("gemnet", "search", "digits", "--cfg-options", *small)
    cell = installed.away / "work_dirs/digits/best_cell.json"
    assert "build it" in installed("gemnet", "fit", cell, "--target-macs", "3e8")
    assert "best cell" in installed("gemnet", "search", "status", "work_dirs/digits")
    again = installed("gemnet", "search", "gemnet::search/digits.py", "--cfg-options", *small, "seed=1", code=1)
    assert "seed: 0 there, 1 here" in again
