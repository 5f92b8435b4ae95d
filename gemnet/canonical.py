"""A canonical form of small labelled directed acyclic graphs: equal exactly for isomorphic graphs.

Colours are refined by the multisets of the colours of in- and out-neighbours until they are stable. In a stable colouring
two classes are joined by all edges or by none, or they are *mixed*; only mixed edges hold what the colours do not say.
Along these the graph falls apart into components, each canonised by itself, so that repeated parts (twins, parallel
branches) cost their sum and not their product. Where nothing falls apart, each vertex of one class is individualised in
turn and the smallest result is taken.
"""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

WORK_LIMIT = 400_000
"""Vertex and edge visits after which a graph counts as too symmetric (about half a second)."""

_Neighbours = dict[int, list[int]]


class _TooSymmetric(Exception):
    pass


def certificate(labels: Sequence[str], edges: Iterable[tuple[int, int]]) -> tuple:
    """Canonical form of the graph with `labels[v]` on vertex v and directed `edges` (u, v), u < v.

    Two graphs have equal certificates if and only if an isomorphism keeps labels and edge directions. The one exception:
    graphs so regular that the search outgrows `WORK_LIMIT` get their stable colouring as certificate, marked "stable"; it
    is still the same for isomorphic graphs, but two different graphs of this kind could share it.
    """
    vertices = range(len(labels))
    into: _Neighbours = {v: [] for v in vertices}
    out: _Neighbours = {v: [] for v in vertices}
    for u, v in edges:
        out[u].append(v)
        into[v].append(u)
    # Longest distances from a source and to a sink are invariants; they spare a chain its hundreds of refinement rounds.
    depth, height = [0] * len(labels), [0] * len(labels)
    for v in vertices:
        depth[v] = max((depth[u] + 1 for u in into[v]), default=0)
    for v in reversed(vertices):
        height[v] = max((height[w] + 1 for w in out[v]), default=0)
    names = sorted(set(labels))
    colours, keys = _ranked({v: (names.index(labels[v]), depth[v], height[v]) for v in vertices})
    search = _Search()
    stable, head = search.stabilise(colours, into, out)
    try:
        return tuple(names), tuple(keys), "exact", search.finish(head, stable, into, out)
    except _TooSymmetric:
        return tuple(names), tuple(keys), "stable", head


def _ranked(keys: dict[int, Hashable]) -> tuple[dict[int, int], list]:
    """Each vertex's rank among the sorted distinct keys, and these keys."""
    distinct = sorted(set(keys.values()))  # type: ignore[type-var]
    rank = {key: i for i, key in enumerate(distinct)}
    return {v: rank[key] for v, key in keys.items()}, distinct


class _Search:
    """Canonises one graph, counting its work. The count does not depend on the order of the vertices."""

    def __init__(self) -> None:
        self.work = 0

    def stabilise(self, colours: dict[int, int], into: _Neighbours, out: _Neighbours) -> tuple[dict[int, int], tuple]:
        """The coarsest stable refinement of `colours`, and its description in colours alone.

        The description lists per class its first colour and size, and per ordered pair of classes how many neighbours in
        the second a vertex of the first has.
        """
        first, count = colours, len(set(colours.values()))
        edges = sum(map(len, out.values()))
        while True:
            self.work += len(colours) + edges
            refined, keys = _ranked(
                {
                    v: (c, tuple(sorted([colours[u] for u in into[v]])), tuple(sorted([colours[w] for w in out[v]])))
                    for v, c in colours.items()
                }
            )
            colours = refined
            if len(keys) == count:
                break
            count = len(keys)
        origin = {colours[v]: first[v] for v in colours}
        sizes = Counter(colours.values())
        member = {c: v for v, c in colours.items()}
        quotient = [
            (c, d, number)
            for c in sorted(member)
            for d, number in sorted(Counter(colours[w] for w in out[member[c]]).items())
        ]
        return colours, (tuple((origin[c], sizes[c]) for c in sorted(sizes)), tuple(quotient))

    def finish(self, head: tuple, colours: dict[int, int], into: _Neighbours, out: _Neighbours) -> tuple:
        """`head` with the canonical forms of the components that the mixed edges of a stable colouring span."""
        if self.work > WORK_LIMIT:
            raise _TooSymmetric
        sizes, quotient = head
        mixed = {(c, d) for c, d, number in quotient if number < sizes[d][1]}
        if not mixed:
            return (head,)
        into = {v: [u for u in into[v] if (colours[u], colours[v]) in mixed] for v in colours}
        out = {v: [w for w in out[v] if (colours[v], colours[w]) in mixed] for v in colours}
        parts = [part for part in _components(into, out) if len(part) > 1]
        if len(parts) == 1 and len(parts[0]) == len(colours):
            return head, self._individualise(colours, into, out)
        forms = []
        for part in parts:
            inside = {v: colours[v] for v in part}
            forms.append(self._canonise(inside, {v: into[v] for v in part}, {v: out[v] for v in part}))
        return head, tuple(sorted(forms))

    def _canonise(self, colours: dict[int, int], into: _Neighbours, out: _Neighbours) -> tuple:
        stable, head = self.stabilise(colours, into, out)
        return self.finish(head, stable, into, out)

    def _individualise(self, colours: dict[int, int], into: _Neighbours, out: _Neighbours) -> tuple:
        classes = defaultdict(list)
        for v, c in colours.items():
            classes[c].append(v)
        _, target = min((len(members), c) for c, members in classes.items() if len(members) > 1)
        return min(
            self._canonise({v: 2 * c + (v != chosen) for v, c in colours.items()}, into, out) for chosen in classes[target]
        )


def _components(into: _Neighbours, out: _Neighbours) -> list[list[int]]:
    seen: set[int] = set()
    parts = []
    for start in into:
        if start in seen:
            continue
        seen.add(start)
        part = [start]
        for v in part:
            for w in (*into[v], *out[v]):
                if w not in seen:
                    seen.add(w)
                    part.append(w)
        parts.append(part)
    return parts
