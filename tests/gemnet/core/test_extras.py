"""Core and extras: what each brings is what its rooms import, and what is missing is one line that names the extra."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fresh import run_code

from gemnet.core.extras import EXTRAS, MissingExtraError, missing_extra, need
from gemnet.deploy.export import beside

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[3]
MODULES = {
    "onedl-mmcv": "mmcv", "onedl-mmdetection": "mmdet", "onedl-mmengine": "mmengine", "onedl-mmpretrain": "mmpretrain",
    "pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn",
    "litert-torch": "litert_torch",
}  # fmt: skip
"""By distribution, the module where it has another name."""
WITH = {
    "cv2": "mmcv", "llvmlite": "numba", "onnx_ir": "onnxscript", "torchao": "executorch",
    **dict.fromkeys(("ai_edge_litert", "ai_edge_quantizer"), "litert_torch"),
}  # fmt: skip
"""Modules that come with another one."""
ROOMS = {
    "gemnet": (),
    "gemnet/bench": ("detection",),
    **{f"gemnet/deploy/{name}": ("detection", "export") for name in ("int8", "detector_export.py", "detector_onnx.py")},
    **{f"gemnet/deploy/{name}.py": ("detection",) for name in ("detectors", "preprocessing")},
    "gemnet/deploy/runner.py": ("export",),
    "gemnet/pretraining": ("detection",),
    "gemnet/detection": ("detection",),
    "gemnet/openmmlab": ("detection",),
    "search": ("search",),
    "search/experiments/detectors": ("detection", "export", "search"),
}
"""By room, or module, the extras without which it cannot be imported; what lies below is as its room."""


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def brought(requirements):
    names = [re.match(r"[\w-]+", requirement)[0] for requirement in requirements]
    return {MODULES.get(name, name) for name in names}


CORE = brought(project()["dependencies"])


def test_the_extras_of_pyproject_bring_the_modules_that_are_told():
    optional = project()["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        assert {WITH.get(module, module) for module in modules} == brought(optional[extra]), extra
    runtimes = {"executorch", "litert", "ncnn", "openvino"}  # each heavy, and needed by who takes that runtime alone
    assert optional["all"] == [f"gemnet[{','.join(sorted(set(EXTRAS) - runtimes))}]"]
    assert "gemnet[all,ncnn,openvino]" in optional["test"]


def imports(path):
    """The libraries that a module imports: at once, and later or for its annotations alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = set()
    for node in ast.walk(tree):
        lazy = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if lazy or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            later |= {id(below) for below in ast.walk(node)}
    found = (set(), set())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        found[id(node) in later].update(name.partition(".")[0] for name in names)
    return [names - set(sys.stdlib_module_names) - {"gemnet", "search"} for names in found]


@pytest.mark.long
def test_a_room_imports_what_the_core_and_its_extras_bring_and_all_that_is_imported_is_brought():
    wrong = []
    for path in (file for package in ("gemnet", "search") for file in (ROOT / package).rglob("*.py")):
        place = path.relative_to(ROOT)
        room = next(str(part) for part in (place, *place.parents) if str(part) in ROOMS)
        allowed = CORE.union(*(EXTRAS[extra] for extra in ROOMS[room]))
        at_once, later = imports(path)
        known = CORE.union(*EXTRAS.values(), {"grakel"})  # a peer in speed, measured where it is there
        wrong += [(str(place), name) for name in (at_once - allowed) | (later - known)]
    assert not wrong


def test_what_is_needed_and_there_is_no_error_and_not_imported():
    code = "import sys; from gemnet.core.extras import need; need('search'); print(*{'numba', 'mmengine'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_only_a_missing_module_of_an_extra_is_told_as_such(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(EXTRAS, "search", (*EXTRAS["search"], "no_such_module"))
    with pytest.raises(MissingExtraError, match=r'^onnx is not installed; .*pip install "gemnet\[export\]"$') as raised:
        need("export")
    assert missing_extra(raised.value) is raised.value
    assert "gemnet[search]" in str(missing_extra(ModuleNotFoundError("x", name="no_such_module.part")))
    others = [ModuleNotFoundError("x", name="mine"), ModuleNotFoundError("x", name="sys"), ModuleNotFoundError("x"), OSError(1)]
    assert [missing_extra(error) for error in others] == [None] * 4


HIDING = """
import contextlib, io, json, sys
for name in json.loads(sys.argv[1]): sys.modules[name] = None
from gemnet.cli.main import main
told = []
for line in json.loads(sys.argv[2]):
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        code = main(line)
    told.append([code, err.getvalue().splitlines()])
print(json.dumps([told, [name for name in ("torch", "numpy") if name in sys.modules]]))
"""
LACKING = {
    "detection": [
        "train gemnet::retinanet_gemnet_a.py", "test CONFIG a.pth", "predict CONFIG a.pth photos", "overfit", "compare A B",
        "complexity CONFIG",
    ],
    "search": [
        "search", "search digits", "search status work_dirs/digits", "search settings", "evaluate --quick", "benchmark kernel",
        "benchmark models", "reproduce fig1", "svge --space enas", "convert-benchmark nasbench101 a b.npz",
    ],
    "export": ["export gemnet_a a.onnx"],
}  # fmt: skip


def run_without_extras(lines, cwd):
    hidden = sorted({module for modules in EXTRAS.values() for module in modules} - {"yaml"})  # timm's, too
    result = run_code(HIDING, json.dumps(hidden), json.dumps([line.split() for line in lines]), cwd=cwd)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)[0]


@pytest.mark.long
@pytest.mark.parametrize("extra", LACKING)
def test_a_command_whose_extra_is_missing_names_it_in_one_line(extra, tmp_path):
    for line, (code, told) in zip(LACKING[extra], run_without_extras(LACKING[extra], tmp_path)):
        told = [each for each in told if "weights are random" not in each]
        assert (code, len(told)) == (1, 1), line
        assert told[0].endswith(f' is not installed; install what this needs with: pip install "gemnet[{extra}]"'), line
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_core_alone_exports_converts_and_fits(tmp_path):
    lines = [
        "export gemnet_a a.pt --format torchscript",
        "export gemnet_a a.pt2 --format torch.export",
        "fit gemnet_b --out n.json",
    ]
    assert [code for code, _ in run_without_extras(lines, tmp_path)] == [0, 0, 0]
    written = {name for file in ("a.pt", "a.pt2") for name in (file, *beside(file))}
    assert {path.name for path in tmp_path.iterdir()} == {*written, "n.json"}


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("import gemnet.openmmlab", "detection"),
        ("import gemnet.registry", "detection"),
        ("import gemnet; gemnet.backbone", "detection"),
        ("import search.experiments", "search"),
        ("import search.core", "search"),
        ("import gemnet; gemnet.draw_cell(gemnet.Cell.shipped('gemnet_a'), 'a.png')", "search"),
    ],
)
def test_a_door_of_python_whose_extra_is_missing_names_it(code, extra, tmp_path):
    hidden = sorted({module for modules in EXTRAS.values() for module in modules} - {"yaml"})
    code = f"import sys\nfor name in {hidden}: sys.modules[name] = None\n{code}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(rf'gemnet\.core\.extras\.MissingExtraError: \w+ is not .* pip install "gemnet\[{extra}\]"', last)
