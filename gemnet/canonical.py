"""A canonical form of labelled directed acyclic graphs: equal exactly for isomorphic graphs.

Colours are refined by the colours of in- and out-neighbours until they are stable. In a stable colouring two classes are
joined by all edges or by none, or they are *mixed*: only there the edges hold what the colours do not say, and where edges
are the majority, the missing ones say the same. Along the fewer of the two the graph falls apart into components, each
canonised by itself, so that repeated parts (twins, parallel branches) cost their sum and not their product. Where nothing
falls apart, each vertex of one class is individualised in turn and the smallest result is taken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

WORK_LIMIT = 600_000
"""Visits of vertices and edges after which a graph counts as too symmetric (less than a second)."""
DEPTH_LIMIT = 64
"""Levels of components and individualised vertices after which it does, too: far inside Python's recursion limit."""

_Neighbours = dict[int, list[int]]
_Colours = dict[int, int]  # a class of k vertices with the colour c leaves c + 1, …, c + k - 1 free for its parts


class _TooSymmetric(Exception):
    pass


def certificate(labels: Sequence[str], edges: Iterable[tuple[int, int]]) -> tuple:
    """Bring a graph into its canonical form.

    Args:
        labels: on vertex v the label `labels[v]`.
        edges: directed ones, (u, v) with u < v.

    Returns:
        a tuple of tuples of numbers and texts that compares and hashes.

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
    # Longest distances from a source and to a sink are invariants that most often tell nearly all vertices apart.
    depth, height = [0] * len(labels), [0] * len(labels)
    for v in vertices:
        depth[v] = max((depth[u] + 1 for u in into[v]), default=0)
    for v in reversed(vertices):
        height[v] = max((height[w] + 1 for w in out[v]), default=0)
    keys = list(zip(labels, depth, height))
    sizes = sorted(Counter(keys).items())
    starts, colour = {}, 0
    for key, size in sizes:
        starts[key] = colour
        colour += size
    colours = {v: starts[keys[v]] for v in vertices}
    search = _Search()
    search.refine(colours, into, out, sorted(starts.values()))
    search.work = 0  # the limit is for the search: the first refinement costs little more than reading the graph
    try:
        form = search.canonise(colours, into, out, 0)
        search.check()
        return tuple(sizes), "exact", form
    except _TooSymmetric:
        return tuple(sizes), "stable", _description(colours, out)


class _Search:
    """Canonises one graph, counting its work. The count at the end does not depend on the order of the vertices."""

    def __init__(self) -> None:
        self.work = 0

    def check(self) -> None:
        if self.work > WORK_LIMIT:
            raise _TooSymmetric

    def refine(self, colours: _Colours, into: _Neighbours, out: _Neighbours, fresh: list[int]) -> None:
        """Split the classes of `colours`, in place, until all vertices of a class have equally many neighbours in each class.

        fresh: the colours, ascending, that neighbours have not been counted in; in all others these numbers must be equal.
        """
        classes = _classes(colours)
        while fresh:
            seen: defaultdict[int, list[int]] = defaultdict(list)
            for c in fresh:
                for v in classes[c]:
                    for w in out[v]:
                        seen[w].append(2 * c)
                for v in classes[c]:
                    for u in into[v]:
                        seen[u].append(2 * c + 1)
                    self.work += 1 + len(out[v]) + len(into[v])
            fresh = []
            for c in sorted({colours[v] for v in seen}):
                if len(classes[c]) == 1:
                    continue
                self.work += len(classes[c])
                parts: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
                for v in classes[c]:
                    parts[tuple(seen.get(v, ()))].append(v)
                if len(parts) == 1:
                    continue
                new = []
                for key in sorted(parts):
                    new.append(c)
                    classes[c] = parts[key]
                    for v in classes[c]:
                        colours[v] = c
                    c += len(classes[c])
                # Neighbours in all of the class are equal in number already: counts in all parts but one tell the last.
                largest = max(new, key=lambda part: len(classes[part]))
                fresh += [part for part in new if part != largest]

    def canonise(self, colours: _Colours, into: _Neighbours, out: _Neighbours, level: int) -> tuple:
        """Bring a graph with stable `colours` into its canonical form; a colour names its class."""
        if level > DEPTH_LIMIT:
            raise _TooSymmetric
        self.work += 4 * len(colours)
        self.check()
        description = _description(colours, out)
        into, out = self._mixed(colours, out, description)
        parts = [part for part in _components(into, out) if len(part) > 1]
        if len(parts) == 1 and len(parts[0]) == len(colours):
            return description, "one of", self._individualise(colours, into, out, level)
        forms = []
        for part in parts:
            inside = {v: colours[v] for v in part}
            forms.append(self.canonise(inside, {v: into[v] for v in part}, {v: out[v] for v in part}, level + 1))
        return description, "parts", tuple(sorted(forms))

    def _mixed(self, colours: _Colours, out: _Neighbours, description: tuple) -> tuple[_Neighbours, _Neighbours]:
        """In- and out-neighbours between mixed classes; where more than half of all edges exist, along the missing ones."""
        size = {c: number for c, number, _ in description}
        classes = _classes(colours) if len(size) < len(colours) else {}
        new_into: _Neighbours = {v: [] for v in colours}
        new_out: _Neighbours = {v: [] for v in colours}
        for c, _, row in description:
            for d, number in zip(row[::2], row[1::2]):
                if number == size[d]:
                    continue
                missing = 2 * number > size[d]
                self.work += size[c] * (size[d] if missing else number)
                for v in classes[c]:
                    targets = {w for w in out[v] if colours[w] == d}
                    new_out[v] += [w for w in classes[d] if w not in targets] if missing else targets
        for v, neighbours in new_out.items():
            for w in neighbours:
                new_into[w].append(v)
        return new_into, new_out

    def _individualise(self, colours: _Colours, into: _Neighbours, out: _Neighbours, level: int) -> tuple:
        classes = _classes(colours)
        _, target = min((len(members), c) for c, members in classes.items() if len(members) > 1)
        choices = defaultdict(list)
        for chosen in classes[target]:
            fixed = {v: c + (c == target and v != chosen) for v, c in colours.items()}
            self.refine(fixed, into, out, [target])
            choices[_description(fixed, out)].append(fixed)
            self.work += 2 * len(colours)
            self.check()
        # A form begins with the description: the smallest form is among those with the smallest description.
        return min(self.canonise(fixed, into, out, level + 1) for fixed in choices[min(choices)])


def _classes(colours: _Colours) -> dict[int, list[int]]:
    classes: defaultdict[int, list[int]] = defaultdict(list)
    for v, c in colours.items():
        classes[c].append(v)
    return classes


def _description(colours: _Colours, out: _Neighbours) -> tuple:
    """Per class its colour, its size and, for each class that it has edges to, colour and number of out-neighbours there."""
    rows = []
    for c, members in sorted(_classes(colours).items()):
        counts = Counter([colours[w] for w in out[members[0]]])
        rows.append((c, len(members), tuple([x for pair in sorted(counts.items()) for x in pair])))
    return tuple(rows)


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
