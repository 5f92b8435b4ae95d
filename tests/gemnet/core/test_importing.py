"""`import gemnet` is cheap; what it adds to timm is there all the same, in whichever order they are imported."""

import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
from fresh import run_code

import gemnet
from gemnet.core import importing
from gemnet.openmmlab import additions

ROOT = Path(gemnet.__file__).parents[1]


def run(code):
    result = run_code(code, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


def run_in_a_new_python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.long
@pytest.mark.parametrize(
    "imports",
    [
        "import gemnet, timm",
        "import timm, gemnet",
        "import gemnet.network, timm",  # its import of timm imports gemnet.models, which needs a network
    ],
)
def test_timm_knows_the_models_in_whichever_order_both_are_imported(imports):
    told = run(f"{imports}; print(timm.list_models('gemnet*'), timm.create_model('gemnet_a').num_classes, timm.__loader__)")
    names = "['gemnet', 'gemnet_a', 'gemnet_a_small', 'gemnet_b']"
    assert told.startswith(f"{names} 1000 <_frozen_importlib_external.SourceFileLoader")


def test_importing_gemnet_adds_to_timm_alone():
    told = run_in_a_new_python(
        "import sys; before = list(sys.meta_path), list(sys.path_hooks), set(sys.modules); import gemnet; "
        "from gemnet.core import importing; finder, *rest = sys.meta_path; "
        "print(type(finder) is importing.Watch, rest == before[0], sys.path_hooks == before[1], list(importing.AROUND), "
        "[name for name in set(sys.modules) - before[2] if name.split('.')[0] not in {*sys.stdlib_module_names, 'gemnet'}])"
    )
    assert told == "True True True ['timm'] []\n"


def test_data_sets_of_mmdet_are_imported_without_a_word():
    pytest.importorskip("mmdet")
    assert run("import gemnet.openmmlab, mmdet.datasets") == ""


@pytest.mark.long
@pytest.mark.parametrize(("release", "expected"), [("4.40.0", True), ("5.1.0", False)])
def test_mmpretrain_leaves_out_its_models_of_texts_where_transformers_is_too_new_for_them(release, expected, tmp_path):
    pytest.importorskip("mmpretrain")
    folder = tmp_path / f"transformers-{release}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Name: transformers\nVersion: {release}\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import gemnet.openmmlab; "
        "from mmpretrain.utils import dependency; print(dependency.WITH_MULTIMODAL)"
    )
    assert run_in_a_new_python(code).endswith(f"{expected}\n")


def test_every_public_name_is_what_its_module_has_and_another_one_is_told():
    for name in gemnet.__all__:
        value = getattr(gemnet, name)
        assert value is getattr(import_module(value.__module__), name)
        assert name in dir(gemnet)
    assert gemnet.cell.Cell is gemnet.Cell
    with pytest.raises(AttributeError, match="module 'gemnet' has no attribute 'nothing'"):
        _ = gemnet.nothing


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module of some code, which is imported with the note left out; returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(importing.AROUND, "made_for_importing", additions.AROUND["mmdet.datasets"])

    def make(code):
        (tmp_path / "made_for_importing.py").write_text(code)
        return "made_for_importing"

    yield make
    sys.modules.pop("made_for_importing", None)


def test_only_the_unasked_note_is_left_out_of_what_a_module_prints(module, capsys):
    code = "import sys; print('before\\nCould not import OneDL. Skipping.\\na warning'); print('b', file=sys.stderr)"
    made = import_module(module(code))
    told = capsys.readouterr()
    assert (told.out, told.err) == ("before\na warning\n", "b\n")
    assert type(made.__loader__).__name__ == type(made.__spec__.loader).__name__ == "SourceFileLoader"


def test_what_a_module_printed_before_it_failed_is_told(module, capsys):
    with pytest.raises(ZeroDivisionError):
        import_module(module("print('before')\n1 / 0"))
    assert capsys.readouterr().out == "before\n"
    assert "made_for_importing" not in sys.modules


def test_watching_twice_changes_nothing(monkeypatch):
    entered = []

    @contextmanager
    def entering():
        entered.append(True)
        yield

    monkeypatch.setattr(importing, "AROUND", {**importing.AROUND})
    before = list(sys.meta_path)
    importing.watch({"json": entering})
    importing.watch({"json": entering})
    assert (sys.meta_path, entered) == (before, [True])
    assert sum(isinstance(finder, importing.Watch) for finder in before) == 1
