"""The networks of SVGe (arXiv 2010.04683): a two-sided graph encoder and a decoder that builds a graph node by node.

Shapes: B graphs, n places for nodes, s the node state, d the latent dimension. Settings and structure follow the authors'
public code. All of it is batched over graphs of different sizes; loops run over node positions and layers only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search.core.layers import mlp


class MessageLayer(nn.Module):
    """One round of messages in one direction: m_v = sum over u -> v of Linear([h_u, h_v]), then h_v = GRU(m_v, h_v).

    All nodes at once, as SVGe has it (D-VAE goes along the topological order).
    """

    def __init__(self, half: int) -> None:
        super().__init__()
        self.message = nn.Linear(2 * half, 2 * half)
        self.update = nn.GRUCell(2 * half, half)

    def folded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The GRU's weights for the input [sum of h_u, k h_v, k] with k predecessors.

        The sum and the GRU's input gates are linear, so the message's matrix goes into theirs, once a batch instead of once an
        edge.
        """
        gates = self.update.weight_ih
        folded = torch.cat([gates @ self.message.weight, (gates @ self.message.bias).unsqueeze(1)], 1)
        return folded, self.update.weight_hh, self.update.bias_ih, self.update.bias_hh


Folded = list[tuple[Tensor, Tensor, Tensor, Tensor]]


class TwoSidedMessages(nn.Module):
    """Stacks of `layers` MessageLayers along the edges and against them, each on its half of the node state."""

    def __init__(self, state: int, layers: int) -> None:
        super().__init__()
        self.forward_layers = nn.ModuleList(MessageLayer(state // 2) for _ in range(layers))
        self.reverse_layers = nn.ModuleList(MessageLayer(state // 2) for _ in range(layers))

    def folded(self) -> tuple[Folded, Folded]:
        """Weights for `pass_messages`, to be made once for a batch."""
        forward, reverse = (
            [layer.folded() for layer in layers if isinstance(layer, MessageLayer)]
            for layers in (self.forward_layers, self.reverse_layers)
        )
        return forward, reverse

    @staticmethod
    def pass_messages(
        folded: tuple[Folded, Folded], along: Tensor, against: Tensor, adjacency: Tensor, exchange: bool = False
    ) -> Tensor:
        """along, against: states [B, n, s/2] of the two stacks; adjacency: [B, n, n] of zeros and ones. exchange: from the
        second layer on both start from the mean of their states. Returns [B, n, s]."""
        states, incoming = [along, against], (adjacency.mT, adjacency)
        degrees = [edges.sum(2, keepdim=True) for edges in incoming]
        for number, layers in enumerate(zip(*folded)):
            if exchange and number:
                states = [(states[0] + states[1]) / 2] * 2
            for side, (layer, edges, degree) in enumerate(zip(layers, incoming, degrees)):
                h = states[side]
                inputs = torch.cat([edges @ h, degree * h, degree], 2)
                states[side] = torch.gru_cell(inputs.flatten(0, 1), h.flatten(0, 1), *layer).view_as(h)
        return torch.cat(states, 2)


class GatedSum(nn.Module):
    """Readout: sum over the nodes of sigmoid(gate(h_v)) * value(h_v), [B, n, s] -> [B, d]."""

    def __init__(self, state: int, dim: int) -> None:
        super().__init__()
        self.value = nn.Linear(state, dim)
        self.gate = nn.Linear(state, 1)

    def forward(self, h: Tensor, present: Tensor | None = None) -> Tensor:
        """present: [B, n, 1] of zeros and ones, all nodes if None."""
        gate = self.gate(h).sigmoid()
        return (self.value(h) * (gate if present is None else gate * present)).sum(1)


class GraphEncoder(nn.Module):
    """Types and edges -> mean and log-variance of the latent vector.

    exchange: after the first of several layers of messages both directions go on from the mean of their states, see
    `TwoSidedMessages.pass_messages`. Without it a node knows of what feeds it and of what it feeds, not of what else that
    feeds, and graphs that differ in this alone have one vector: 1,224 of NAS-Bench-101's 423,624.

    places: how many nodes a graph may have, where a node's first state tells its `place` besides its type; 0 if it does not.
    Messages of few layers tell a node what is around it, not where in the graph it is. Of longer paths than so many nodes
    have, in graphs of a larger space, the places are those of as long ones, in proportion.
    """

    def __init__(self, num_types: int, dim: int, state: int, layers: int, exchange: bool = False, places: int = 0) -> None:
        super().__init__()
        self.exchange, self.places = exchange, places
        self.embedding = nn.Embedding(num_types, state // 2)
        if places:
            self.depth, self.height = (nn.Embedding(places, state // 2) for _ in range(2))
        self.messages = TwoSidedMessages(state, layers)
        self.mean = GatedSum(state, dim)
        self.log_variance = GatedSum(state, dim)

    def forward(self, types: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor]:
        """types: int64 [B, n], -1 for no node; adjacency: float [B, n, n]. Returns two tensors [B, d]."""
        h = self.embedding(types.clamp(min=0))
        if self.places:
            depth, height = place(adjacency)
            longest = depth.amax(1, keepdim=True).clamp(min=self.places - 1)
            h = h + sum(known(at * (self.places - 1) // longest) for known, at in ((self.depth, depth), (self.height, height)))
        h = self.messages.pass_messages(self.messages.folded(), h, h, adjacency.to(h.dtype), self.exchange)
        present = (types >= 0).unsqueeze(2)
        return self.mean(h, present), self.log_variance(h, present)


def place(adjacency: Tensor) -> tuple[Tensor, Tensor]:
    """Where the nodes of DAGs [B, n, n] in topological order are: the edges of the longest path that leads to each, and of the
    longest that leads away, int64 [B, n] both. Isomorphic graphs have the same."""
    depths = adjacency.new_zeros(adjacency.shape[:2], dtype=torch.int64)
    heights, edges, n = depths.clone(), adjacency > 0, adjacency.shape[1]
    for v in range(1, n):
        depths[:, v] = ((depths[:, :v] + 1) * edges[:, :v, v]).amax(1)
    for v in range(n - 2, -1, -1):
        heights[:, v] = ((heights[:, v + 1 :] + 1) * edges[:, v, v + 1 :]).amax(1)
    return depths, heights


@dataclass(frozen=True)
class DecoderLosses:
    """Teacher-forced losses and how much of what was to be decided was decided rightly, both sides together.

    types: cross-entropy, summed over the nodes but the first, [B]. edges: binary cross-entropy, the mean over a node's possible
    edges, summed over the nodes, [B]. types_right, edges_right: shares.
    """

    types: Tensor
    edges: Tensor
    types_right: Tensor
    edges_right: Tensor


class GraphDecoder(nn.Module):
    """Latent vector -> graph, node by node from the input to the output, and, with the same weights on the reversed graph, from
    the output to the input.

    Each step: messages on the graph so far; the graph's state by a gated sum; the next node's type from it; the node's first
    state from its type and a second gated sum; each edge from the nodes before by a classifier on both nodes' states and the
    graph's. The latent vector is an input of each of these. The edge between the first two nodes is taken for granted, as in
    the public code: a node at the second place can have no other predecessor.
    """

    def __init__(self, num_types: int, dim: int, state: int, layers: int) -> None:
        super().__init__()
        self.end = num_types - 1
        self.embedding = nn.Embedding(num_types, state)
        self.messages = TwoSidedMessages(state, layers)
        self.graph_state = GatedSum(state, dim)
        self.graph_state_for_node = GatedSum(state, dim)
        self.first_node = mlp((state + dim, state + dim, state))
        self.new_node = mlp((state + 2 * dim, state + dim, state))
        self.new_type = mlp((2 * dim, dim, num_types))
        self.edge_hidden = nn.Linear(2 * state + 2 * dim, state + dim)
        self.edge = nn.Linear(state + dim, 1)

    def forward(self, latent: Tensor, types: Tensor, adjacency: Tensor) -> DecoderLosses:
        """latent: [B, d]; types: int64 [B, n], -1 for no node; adjacency: float [B, n, n]."""
        types, adjacency = (torch.cat(both) for both in zip((types, adjacency), reverse(types, adjacency)))  # 2 B rows
        latent, present, wanted = latent.repeat(2, 1), types >= 0, types.clamp(min=0)
        folded = self.messages.folded()
        h = self._first_node(wanted[:, 0], latent)
        type_losses, edge_losses, right, count = [], [], latent.new_zeros(2), latent.new_zeros(2)
        for place in range(1, types.shape[1]):
            there = present[:, place]
            h, graph, for_node = self._propagate(folded, h, adjacency[:, :place, :place])
            logits = self._type_logits(graph, latent).float()
            type_losses.append(there * F.cross_entropy(logits, wanted[:, place], reduction="none"))
            new = self._new_node(wanted[:, place], for_node, latent)
            right[0] += (logits.argmax(1) == types[:, place]).sum()
            count[0] += there.sum()
            if place > 1:
                logits, edges = self._edge_logits(h, new, graph, latent).float(), adjacency[:, :place, place]
                edge_losses.append(there * F.binary_cross_entropy_with_logits(logits, edges, reduction="none").mean(1))
                right[1] += (((logits > 0) == (edges > 0)) & there.unsqueeze(1)).sum()
                count[1] += there.sum() * place
            h = torch.cat([h, new.unsqueeze(1)], 1)
        types_right, edges_right = (right / count.clamp(min=1)).unbind()
        type_loss, edge_loss = (
            sum(losses, latent.new_zeros(len(types), dtype=torch.float32)).view(2, -1).sum(0)
            for losses in (type_losses, edge_losses)
        )
        return DecoderLosses(type_loss, edge_loss, types_right, edges_right)

    @torch.no_grad()
    def generate(
        self,
        latent: Tensor,
        max_nodes: int,
        generator: torch.Generator | None = None,
        *,
        two_sided: bool = True,
        min_nodes: int = 2,
        constrained: bool = False,
        times: int = 1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode latent vectors [B, d].

        The number of nodes and their types are those of the side that starts at the input. The other side's graph is reversed
        and laid so that the outputs coincide. Graphs of one vector are computed as one for as long as the same is drawn for
        them. Enforced, as in the public code, are the type of the first node, the edge between the first two places of each
        side, and the end of a graph at `max_nodes` by an output (by an input on the other side).

        Args:
            latent: [B, d].
            max_nodes: n, the places of a graph.
            generator: draws types and edges from their distributions; the likeliest ones are taken if None.
            two_sided: whether edges are the union of both sides', with the higher of their probabilities; else the first
                side's alone.
            min_nodes: before it has so many nodes, a graph has neither a second input nor an output. A network that has only
                seen smaller graphs would choose one or the other.
            constrained: whether there is no second input after that either, and the surer side decides where both differ in
                an edge, whose probability is the mean of theirs. This is ours.
            times: graphs of each vector, one after the other.

        Returns:
            Types int64 [B times, n], -1 for no node; adjacency bool [B times, n, n]; the probability of each edge, float
            [B times, n, n].
        """
        sides, device = 1 + two_sided, latent.device
        latent = latent.repeat(sides, 1)
        alike = _Alike(len(latent), times, device)
        rows, count = len(latent) * times, len(latent) * times // sides
        last = torch.full((rows,), self.end, device=device)  # the type that ends a graph
        last[count:] = 0
        types = torch.full((rows, max_nodes), -1, device=device)
        types[:, 0] = self.end - last
        adjacency, likely = torch.zeros(2, rows, max_nodes, max_nodes, device=device, dtype=latent.dtype)
        growing = torch.ones(rows, 1, dtype=torch.bool, device=device)
        folded = self.messages.folded()
        h = self._first_node(types[alike.row, 0], latent)
        for place in range(1, max_nodes):
            h, graph, for_node = self._propagate(folded, h, adjacency[alike.row, :place, :place])
            logits = self._type_logits(graph, latent)
            if place < min_nodes - 1:
                logits[:, [0, self.end]] = -torch.inf
            elif constrained:
                logits.scatter_(1, types[alike.row, :1], -torch.inf)
            chosen = last if place == max_nodes - 1 else _draw_type(alike.spread(logits), generator)
            types[:, place] = torch.where(growing.squeeze(1), chosen, -1)
            h, graph, for_node, latent = alike.split(types[:, place : place + 1], h, graph, for_node, latent)
            new = self._new_node(chosen[alike.row], for_node, latent)
            if place == 1:
                edges = chances = growing
            else:
                logits = alike.spread(self._edge_logits(h, new, graph, latent))
                edges, chances = growing & _draw_edges(logits, generator), growing * logits.sigmoid()
            adjacency[:, :place, place], likely[:, :place, place] = edges.to(latent.dtype), chances
            growing &= (chosen != last).unsqueeze(1)
            if not growing.any():
                break
            h, latent = alike.split(edges.long(), torch.cat([h, new.unsqueeze(1)], 1), latent)
        if two_sided:
            types, adjacency, likely = _joined_sides(types, adjacency, likely, constrained)
        return types, adjacency > 0, likely

    def _first_node(self, types: Tensor, latent: Tensor) -> Tensor:
        """types [B], latent [B, d] -> states of one node [B, 1, s]."""
        return self.first_node(torch.cat([self.embedding(types), latent], 1)).unsqueeze(1)

    def _propagate(self, folded: tuple[Folded, Folded], h: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Messages on the graph so far: h [B, k, s], adjacency [B, k, k] -> h, and the two readouts [B, d]."""
        if h.shape[1] == 1:  # no messages and no gate, as in the public code
            return h, self.graph_state.value(h[:, 0]), self.graph_state_for_node.value(h[:, 0])
        along, against = h.chunk(2, 2)
        h = self.messages.pass_messages(folded, along, against, adjacency)
        return h, self.graph_state(h), self.graph_state_for_node(h)

    def _type_logits(self, graph: Tensor, latent: Tensor) -> Tensor:
        return self.new_type(torch.cat([graph, latent], 1))

    def _new_node(self, types: Tensor, for_node: Tensor, latent: Tensor) -> Tensor:
        """First state of the next node, [B, s]."""
        return self.new_node(torch.cat([self.embedding(types), for_node, latent], 1))

    def _edge_logits(self, h: Tensor, new: Tensor, graph: Tensor, latent: Tensor) -> Tensor:
        """Of the edges from the k nodes before to the new one, [B, k]; what all k share is multiplied once."""
        own, shared = self.edge_hidden.weight.split([h.shape[2], self.edge_hidden.in_features - h.shape[2]], 1)
        common = F.linear(torch.cat([new, graph, latent], 1), shared, self.edge_hidden.bias)
        return self.edge(F.relu(F.linear(h, own) + common.unsqueeze(1))).squeeze(2)


def _joined_sides(types: Tensor, adjacency: Tensor, likely: Tensor, surer: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Graphs that began at the input, above the same number that began at the output -> as many: types of the former, edges of
    both and their probabilities. surer: where the sides differ in an edge, the surer one decides; else they are united."""
    count = len(types) // 2
    sizes = (types[:count] >= 0).sum(1)
    (first, second), (chances, others) = (
        (edges[:count], reverse(types[count:], edges[count:], sizes)[1]) for edges in (adjacency, likely)
    )
    if surer:
        likely = (chances + others) / 2
        return types[:count], torch.where(first == second, first, (likely >= 0.5).to(first.dtype)), likely
    return types[:count], torch.maximum(first, second), torch.maximum(chances, others)


class _Alike:
    """Rows that are the same so far, in groups that are computed once. row: one of the rows of each group, [groups]; of: each
    row's group, [rows]. At first `groups` of `times` rows each; with times = 1 nothing is ever grouped."""

    def __init__(self, groups: int, times: int, device: torch.device) -> None:
        self.of = torch.arange(groups, device=device).repeat_interleave(times)
        self.row, self.times = torch.arange(groups, device=device) * times, times

    def spread(self, values: Tensor) -> Tensor:
        """Values of the groups -> of their rows."""
        return values if self.times == 1 else values[self.of]

    def split(self, drawn: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """Part the rows of a group for which other numbers were `drawn`, int64 [rows, k]. Values of the groups -> of the new
        groups."""
        if self.times == 1:
            return values
        groups, of = torch.cat([self.of.unsqueeze(1), drawn], 1).unique(return_inverse=True, dim=0)
        self.of, self.row = of, torch.empty_like(groups[:, 0]).scatter_(0, of, torch.arange(len(of), device=of.device))
        return tuple(value[groups[:, 0]] for value in values)


def _draw_type(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """One of each row of [B, types]; the likeliest without a generator."""
    if generator is None:
        return logits.argmax(1)
    return torch.multinomial(logits.float().softmax(1), 1, generator=generator).squeeze(1)


def _draw_edges(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """bool, as the logits; the likelier of both without a generator."""
    if generator is None:
        return logits > 0
    return torch.rand(logits.shape, generator=generator, device=logits.device) < logits.float().sigmoid()


def reverse(types: Tensor, adjacency: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The graphs with all edges turned around and the order of the nodes as well: types [B, n], -1 at the end as before, and
    adjacency [B, n, n]. sizes: [B], place u goes to sizes - 1 - u, what falls outside is left out; the graphs' own if None.
    """
    n = types.shape[1]
    sizes = (types >= 0).sum(1) if sizes is None else sizes
    place = sizes.unsqueeze(1) - 1 - torch.arange(n, device=types.device)
    inside, place = place >= 0, place.clamp(min=0)
    turned = types.gather(1, place).masked_fill(~inside, -1)
    edges = adjacency.mT.gather(1, place.unsqueeze(2).expand_as(adjacency)).gather(2, place.unsqueeze(1).expand_as(adjacency))
    return turned, edges * (inside.unsqueeze(2) & inside.unsqueeze(1))


class AccuracyHead(nn.Module):
    """Latent vector -> accuracy: fully connected with ReLU, the width halved twice more after the first (56-28-14-7-1).

    It works on standardised accuracies; `mean` and `deviation` are those of its training set.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = [max(1, dim // 2**i) for i in range(4)] + [1]
        self.layers = mlp(widths)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, latent: Tensor) -> Tensor:
        """[B, d] -> standardised accuracy [B]."""
        return self.layers(latent).squeeze(1)
