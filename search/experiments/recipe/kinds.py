"""Five kinds of cell, from a single node to a dense graph, which one recipe is to treat alike."""

from __future__ import annotations

from gemnet.cell import Cell


def _chain(length: int) -> Cell:
    return Cell(("input", *["sepconv3x3"] * length), tuple((v, v + 1) for v in range(length)))


def _of(kinds: str, edges: str) -> Cell:
    """A cell by its nodes, p for `conv1x1` and s for `sepconv3x3`, and for each node but the input the nodes that feed it."""
    names = {"p": "conv1x1", "s": "sepconv3x3"}
    fed = [tuple(map(int, group.split("+"))) for group in edges.split()]
    return Cell(("input", *(names[kind] for kind in kinds)), tuple((u, v) for v, group in enumerate(fed, 1) for u in group))


KINDS: dict[str, Cell] = {
    "single node": _chain(1),
    "two branches": Cell(("input", "sepconv3x3", "sepconv3x3"), ((0, 1), (0, 2))),
    "chain of 6": _chain(6),
    "sparse, 12 nodes": _of("ssppssppspp", "0 1 1 1 2 0+2+3 1+6 2 3+6 7 5"),
    "dense, 21 nodes": _of(
        "spppspsppppspspsspps",
        "0 0 0 0+2 0+4 0+1+4+5 0+5+6 4 1+4+8 0+3+9 2+7+8 9 11 3+6+11+12 3+6+13 1 0+11+13 5+9+10 0+3+10 6+9+13+16",
    ),
}
"""The second is GEMNet-A's cell. The last two were drawn: the first with 12 nodes and 15 edges, and the first with 21 nodes and
47 edges, of the NASGEM space at densities .02 to .1 and .1 to .3."""
