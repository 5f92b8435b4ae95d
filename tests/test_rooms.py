"""The rooms of `gemnet/` and `search/`: arrows run one way, and each room says what it is for."""

import re
from itertools import pairwise

import networkx as nx
import pytest
from import_graph import PAGE, ROOT, circles, imported, imports, module_graph, modules, renewed, room, room_graph, sentence

KNOWN = modules()
TOP_MODULES = 4
"""At most so many modules lie at the top of `search/`, beside its rooms."""
MAY_RUN_EXPERIMENTS = ("search.experiments", "search.cli", "gemnet.cli")


@pytest.fixture(scope="module")
def graph():
    return module_graph(KNOWN)


@pytest.fixture(scope="module")
def rooms(graph):
    return room_graph(graph, KNOWN)


def test_the_graph_has_all_modules_and_knows_lazy_imports(graph):
    assert {"gemnet.cell", "gemnet.core.errors", "search.pipeline", "search.core.types"} < set(graph)
    assert graph.number_of_edges() > 3 * len(graph) / 2
    lazy = "def f():\n    from a.b import c\n    import d.e"
    assert set(imports(lazy)) == {"a.b.c", "d.e"}
    for_types = "if TYPE_CHECKING:\n    import a\nelse:\n    import b"
    assert list(imports(for_types)) == ["b"]
    assert set(imports("from .. import x\nfrom .y import z", "p.q")) == {"p.x", "p.q.y.z"}


def test_a_circle_is_found_and_shown_as_short_as_it_is():
    graph = nx.DiGraph(["ab", "bc", "ca", "bd", "db", "ex"])
    assert circles(graph) == [["b", "d", "b"]]
    assert circles(nx.DiGraph(["ab", "bc"])) == []


def test_no_module_imports_itself_through_others(graph):
    found = [" -> ".join(circle) for circle in circles(graph)]
    assert not found, "circles of modules:\n" + "\n".join(found)


def test_no_room_imports_itself_through_others(rooms):
    found = []
    for circle in circles(rooms):
        lines = [line for arrow in pairwise(circle) for line in rooms.edges[arrow]["imports"]]
        found.append("\n  ".join([" -> ".join(circle), *lines]))
    assert not found, "circles of rooms:\n" + "\n".join(found)


def test_gemnet_never_imports_search_nor_the_tools():
    found = [
        f"{name} imports {other}"
        for name, path in KNOWN.items()
        if name.split(".")[0] == "gemnet"
        for other in imported(name, path)
        if other.split(".")[0] in ("search", "tools")
    ]
    assert not found, "\n".join(found)


def test_only_command_lines_run_experiments(graph):
    found = [
        f"{name} imports {other}"
        for name, other in graph.edges
        if room(other, KNOWN).startswith("search.experiments") and not room(name, KNOWN).startswith(MAY_RUN_EXPERIMENTS)
    ]
    found += [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in (ROOT / "configs").rglob("*.py")
        for other in imports(path.read_text(encoding="utf-8"))
        if other.startswith("search.experiments")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", sorted({room(name, KNOWN) for name in KNOWN}))
def test_a_room_begins_with_a_sentence(name):
    path = KNOWN.get(name)
    assert path is not None, f"{name.replace('.', '/')}/__init__.py is missing"
    found = sentence(path)
    assert re.fullmatch(r"\S.{8,}\.", found), f"{path.relative_to(ROOT)} does not begin with a sentence: {found!r}"


def test_search_has_few_modules_at_its_top():
    top = sorted(path.name for path in (ROOT / "search").glob("*.py") if path.name != "__init__.py")
    assert len(top) <= TOP_MODULES, f"search/ has {', '.join(top)} at its top: give them a room"


def test_the_page_of_the_architecture_is_made_from_the_code():
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page, KNOWN), "docs/architecture.md is old: python tests/helpers/import_graph.py"
