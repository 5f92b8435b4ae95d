"""Parts of one's own: by decorator, by import path, from the working directory; and never from a record."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gemnet.core.own_modules import import_custom
from search.configuration.settings import load_settings
from search.core.own_modules import OwnModules, imported
from search.core.parts import ENCODERS, SPACES
from search.core.registry import Registry
from search.core.types import SearchError
from search.spaces.dag import build_space

ROOT = Path(__file__).parents[3]


@pytest.fixture
def own(tmp_path, monkeypatch) -> Callable[[str], str]:
    """Writes a module of that text into the working directory; its name, another one each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = []

    def write(text: str) -> str:
        names.append(f"own_parts_{tmp_path.name}_{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(text)
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


def made() -> Registry:
    return Registry("thing", {"pair": "builtins:complex", "path": "pathlib:PurePosixPath"}, offered=("space",), default="pair")


def test_builtin_parts_are_imported_when_they_are_asked_for():
    registry = Registry("thing", {"broken": "no_such_module:Part", "pair": "builtins:complex"})
    assert list(registry) == ["broken", "pair"]
    assert registry.part("pair") is complex


def test_a_decorated_part_is_known_by_its_name_and_gets_what_it_takes():
    registry = made()

    @registry.register("mine")
    class Mine:
        def __init__(self, space, width: int = 3) -> None:
            self.space, self.width = space, width

    assert list(registry) == ["pair", "path", "mine"]
    assert registry.takes("mine") == ("space",)
    built = registry.build("mine", {"space": lambda: "a space"}, {"width": 5})
    assert (built.space, built.width) == ("a space", 5)
    with pytest.raises(SearchError, match=r"^thing: unknown setting 'widht'; did you mean 'width'"):
        registry.build("mine", {"space": lambda: None}, {"widht": 5})


def test_what_a_part_takes_is_made_after_its_settings_are_checked():
    registry = made()
    registry.register("mine")(lambda space, width: (space, width))
    with pytest.raises(SearchError, match=r"^thing: setting 'width' is missing"):
        registry.build("mine", {"space": lambda: pytest.fail("made too early")}, {})


def test_an_unknown_part_is_told_with_the_nearest_one():
    with pytest.raises(SearchError, match=r"^unknown thing 'pare'; did you mean 'pair'\? Expected one of pair, path$"):
        made().part("pare")


def test_an_import_path_counts_the_working_directory_and_runs_only_when_it_is_loaded(own):
    registry, module = made(), own("def part(width=1):\n    return width\n")
    with pytest.raises(SearchError, match="is somebody's own and is not imported from a record; import it first"):
        registry.part(f"{module}:part")
    assert module not in sys.modules
    registry.load(f"{module}:part")
    assert registry.build(f"{module}:part", {}, {"width": 7}) == 7


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("x = 1", "none", r"AttributeError: .*'none'"),
        ("raise ValueError('a bug of mine')", "part", "ValueError: a bug of mine"),
        ("def", "part", "SyntaxError"),
    ],
)
def test_an_own_module_that_cannot_be_imported_is_told_with_its_own_error(own, text, name, message):
    path = f"{own(text)}:{name}"
    with pytest.raises(SearchError, match=rf"^thing: type '{path}' cannot be had \({message}"):
        made().load(path)


def test_a_config_names_own_parts_by_import_path_or_in_custom_imports(own, tmp_path):
    space = own("from search import SPACES\nfrom search.spaces.dag import DagSpace\nSPACES.register('small')(DagSpace)\n")
    encoder = own(
        "from search.encoders.adjacency import AdjacencyEncoder\n\n\nclass Mine(AdjacencyEncoder):\n"
        "    def __init__(self, space, note='') -> None:\n        super().__init__(space)\n        self.note = note\n"
    )
    config = tmp_path / "mine.py"
    config.write_text(
        f"_base_ = [{str(ROOT / 'configs/search/digits.py')!r}]\n"
        f"custom_imports = dict(imports=[{space!r}], allow_failed_imports=False)\n"
        f"space = dict(_delete_=True, type='small', num_nodes=6)\n"
        f"encoder = dict(_delete_=True, type='{encoder}:Mine', note='a')\n"
    )
    settings = load_settings(config)
    assert settings["custom_imports"] == {"imports": [space]}
    assert build_space(**settings["space"]).num_nodes == 6
    assert ENCODERS.build(settings["encoder"]["type"], {"space": lambda: build_space()}, {"note": "b"}).note == "b"
    assert {space, encoder} <= set(OwnModules().names)
    with pytest.raises(SearchError, match=r"mine\.py: encoder: unknown setting 'nota'; did you mean 'note'"):
        load_settings(config, {"encoder.nota": 1})
    with pytest.raises(SearchError, match=r"mine\.py: custom_imports: 'no_such_module' cannot be imported"):
        load_settings(config, {"custom_imports.imports": ["no_such_module"]})


def test_own_modules_travel_as_names_and_files(own):
    module = own("VALUE = 3\n")
    assert imported(f"{module}:VALUE", "thing") == 3
    here = OwnModules()
    assert module in here.names
    assert str(Path(module + ".py").resolve()) in here.places()
    build, names = here.__reduce__()
    del sys.modules[module]
    build(*names)
    assert module in sys.modules


def test_the_list_of_parts_names_what_is_there():
    for name in SPACES:
        assert isinstance(SPACES.part(name), type)
    assert json.dumps(sorted(ENCODERS.takes(name) for name in ENCODERS)) == json.dumps([["space"]] * len(list(ENCODERS)))


def test_a_record_may_name_what_was_imported_by_hand_and_nothing_else(own):
    registry, module = made(), own("def part(width=1):\n    return width\n")
    import_custom([module])
    assert registry.build(f"{module}:part", {}, {"width": 2}) == 2
    for name in ("os:system", "subprocess:run", f"{module}:nothing"):  # modules that are there, but not named by hand
        with pytest.raises(SearchError, match="is not imported from a record"):
            registry.part(name)
