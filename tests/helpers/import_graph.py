"""Who imports whom in `gemnet/` and `search/`, by module and by room; a room is a package.

All imports count, also those in functions; those for type checkers alone (`if TYPE_CHECKING:`) do not. Run as a program, it
makes the table of docs/architecture.md anew.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/architecture.md"
DOORS = ("gemnet.__main__", "gemnet.backbone", "gemnet.registry")
"""Rooms of their own: modules that only lead into a room above them, and lie where Python, mmengine and configs look."""
MARKS = "<!-- rooms: made by python tests/helpers/import_graph.py -->\n", "<!-- end of rooms -->"


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Name of each module -> its file; a package has the name of its `__init__`."""
    found = {}
    for path in sorted(path for top in ("gemnet", "search") for path in (root / top).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(source: str, package: str = "") -> tuple[str, ...]:
    """The names that a module of `package` asks for: `a.b` for `import a.b`, and for `from a import b`."""
    return tuple(_imports(source, package))


def _imports(source: str, package: str) -> Iterator[str]:
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = [*parents, node.module] if node.module else parents
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)


def imported(name: str, path: Path) -> tuple[str, ...]:
    """The names that the module `name` in the file `path` asks for."""
    return imports(path.read_text(encoding="utf-8"), name if path.name == "__init__.py" else name.rpartition(".")[0])


def module_graph(known: dict[str, Path]) -> nx.DiGraph:
    """An arrow from each module to each that it imports: for `from a import b` to `a.b` where that is a module, else to `a`."""
    graph = nx.DiGraph()
    graph.add_nodes_from(known)
    for name, path in known.items():
        for other in imported(name, path):
            while other and other not in known:
                other = other.rpartition(".")[0]
            if other and other != name:
                graph.add_edge(name, other)
    return graph


def room(name: str, known: dict[str, Path]) -> str:
    """The package that a module lies in; a package is its own, and so is a door."""
    return name if name in DOORS or known[name].name == "__init__.py" else name.rpartition(".")[0]


def room_graph(graph: nx.DiGraph, known: dict[str, Path]) -> nx.DiGraph:
    """An arrow from each room to each of which it imports a module, with these imports as `imports`."""
    rooms = nx.DiGraph()
    rooms.add_nodes_from(room(name, known) for name in graph)
    for name, other in sorted(graph.edges):
        here, there = room(name, known), room(other, known)
        if here != there:
            rooms.add_edge(here, there)
            rooms.edges[here, there].setdefault("imports", []).append(f"{name} imports {other}")
    return rooms


def circles(graph: nx.DiGraph) -> list[list[str]]:
    """Of each knot of nodes that reach each other a shortest circle, from its first node back to it."""
    found = []
    for knot in nx.strongly_connected_components(graph):
        if len(knot) > 1:
            nodes = min(nx.simple_cycles(graph.subgraph(knot), length_bound=shortest(graph.subgraph(knot))), key=sorted)
            first = nodes.index(min(nodes))
            found.append([*nodes[first:], *nodes[:first], nodes[first]])
    return sorted(found)


def shortest(graph: nx.DiGraph) -> int:
    """The length of the shortest circle of a knot."""
    return min(1 + nx.shortest_path_length(graph, other, name) for name, other in graph.edges)


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring; empty where it begins with none."""
    paragraph = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0].split())
    found = re.match(r".*?\.(?=\s+[^a-z0-9]|$)", paragraph)  # not at the dot of "Eq. 1"
    return found[0] if found else ""


def table(known: dict[str, Path]) -> str:
    """A row a room, in Markdown: floor, name, sentence, and the rooms that it imports."""
    rooms = room_graph(module_graph(known), known)
    knots = nx.condensation(rooms)
    floors: dict[int, int] = {}
    for knot in reversed(list(nx.topological_sort(knots))):
        floors[knot] = 1 + max((floors[below] for below in knots.successors(knot)), default=-1)
    height = {name: floors[knots.graph["mapping"][name]] for name in rooms}
    lines = ["| floor | room | what is in it | imports |", "|---|---|---|---|"]
    for name in sorted(rooms, key=lambda name: (height[name], name)):
        below = ", ".join(f"`{other}`" for other in sorted(rooms.successors(name)))
        lines.append(f"| {height[name]} | `{name}` | {sentence(known[name])} | {below or 'nothing'} |")
    return "\n".join(lines) + "\n"


def renewed(page: str, known: dict[str, Path]) -> str:
    """docs/architecture.md with the table of the rooms as they are."""
    (head, rest), (_, tail) = page.split(MARKS[0]), page.split(MARKS[1])
    assert MARKS[1] in rest
    return f"{head}{MARKS[0]}{table(known)}{MARKS[1]}{tail}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), modules()), encoding="utf-8")
