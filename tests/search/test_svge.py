import itertools
import json
import os
import pickle
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from search.base import CellArrays, SearchError
from search.benchmarks import nasbench101, nasbench201
from search.embedding import SVGe, build_encoder, load_encoder
from search.embedding.graph_files import read_enas
from search.embedding.graphs import (
    Graphs,
    GraphSpace,
    cell_space,
    cells_of_graphs,
    enas_space,
    graphs_of_cells,
    graphs_of_table,
    nasbench101_space,
    nasbench201_space,
    split,
)
from search.embedding.measures import judge, prior, reconstruction
from search.embedding.svge_network import GraphDecoder, GraphEncoder, reverse
from search.embedding.training import CHECKPOINT, Plan, history, train
from search.space import DagSpace, prune
from search.wl_kernel import wl_gram

MADE = GraphSpace("made", ("input", "a", "b", "c", "output"), 4)
QUICK = {"dim": 8, "state": 16, "epochs": 2, "batch": 16, "lr": 1e-3}
CELLS = DagSpace(6)
DATA = Path(os.environ.get("GEMNET_DATA", Path(__file__).parents[3] / "shared" / "data"))


def real(name):
    if not (DATA / name).is_file():
        pytest.skip(f"needs {name}: set GEMNET_DATA to the folder that holds it")
    return DATA / name


def every_graph(space):
    """All valid graphs of a small space."""
    parts = []
    for n in range(2, space.max_nodes + 1):
        u, v = np.triu_indices(n, 1)
        bits = np.array(list(itertools.product([False, True], repeat=len(u))))
        operators = np.array(list(itertools.product(range(1, space.end), repeat=n - 2)), np.int8)
        adjacency = np.zeros((len(bits), n, n), bool)
        adjacency[:, u, v] = bits
        types = np.full((len(operators), n), space.end, np.int8)
        types[:, 0], types[:, 1:-1] = 0, operators
        graphs = Graphs(np.repeat(types, len(bits), 0), np.tile(adjacency, (len(types), 1, 1))).padded(space.max_nodes)
        parts.append(graphs[space.valid(graphs)])
    return Graphs.concatenate(parts)


def ordered(graphs):
    """Which graphs of at most 4 nodes are written in their only order, or in the first of two."""
    return graphs.adjacency[:, 1, 2] | (graphs.types[:, 1] <= graphs.types[:, 2]) | (graphs.sizes < 4)


@pytest.fixture(scope="module")
def graphs():
    """No two are isomorphic: the encoder could not tell them apart."""
    found = every_graph(MADE)
    return found[ordered(found)]


@pytest.fixture(scope="module")
def learned(graphs):
    """One training that several tests look at."""
    model = SVGe(MADE, state=48, epochs=170, batch=31, lr=3e-3)
    model.fit(graphs, seed=0)
    return model


@pytest.fixture(scope="module")
def quick(graphs):
    model = SVGe(MADE, **QUICK)
    model.fit(graphs, seed=0)
    return model


def slowly_valid(types, adjacency, end):
    """One graph, by the words of the definition."""
    nodes = [v for v, kind in enumerate(types) if kind >= 0]
    if [types[v] for v in nodes].count(0) != 1 or [types[v] for v in nodes].count(end) != 1:
        return False
    for v in nodes:
        if types[v] != 0 and not any(adjacency[u][v] for u in nodes):
            return False
        if types[v] != end and not any(adjacency[v][w] for w in nodes):
            return False
    return True


def labelled(graph):
    """One graph as networkx has it, its types as labels."""
    made = nx.DiGraph(np.argwhere(graph.adjacency).tolist())
    made.add_nodes_from((v, {"type": int(kind)}) for v, kind in enumerate(graph.types) if kind >= 0)
    return made


def isomorphic(a, b):
    return nx.is_isomorphic(a, b, node_match=lambda u, v: u["type"] == v["type"])


def same(a, b):
    """Two graphs of [n] and [n, n] arrays, node by node and predecessor by predecessor."""
    if (a.types[a.types >= 0]).tolist() != (b.types[b.types >= 0]).tolist():
        return False
    return all(
        np.flatnonzero(a.adjacency[:, v]).tolist() == np.flatnonzero(b.adjacency[:, v]).tolist()
        for v in range(int((a.types >= 0).sum()))
    )


def random_graphs(seed, count, n, num_types):
    """Graphs of 1 to n nodes, valid or not."""
    rng = np.random.default_rng(seed)
    absent = np.arange(n) >= rng.integers(1, n + 1, (count, 1))
    types = np.where(absent, -1, rng.integers(0, num_types, (count, n))).astype(np.int8)
    adjacency = np.triu(rng.random((count, n, n)) < 0.5, 1) & ~absent[:, None, :]
    return Graphs(types, adjacency)


def test_validity_is_that_of_the_definition_graph_by_graph(graphs):
    found = Graphs.concatenate([random_graphs(0, 3000, 4, 5), graphs])
    expected = [slowly_valid(t.tolist(), a.tolist(), MADE.end) for t, a in zip(found.types, found.adjacency)]
    assert MADE.valid(found).tolist() == expected
    assert len(graphs) < sum(expected) < len(found)


def test_keys_are_equal_where_graphs_are_the_same_whatever_their_padding():
    found = random_graphs(1, 200, 3, 3)
    keys, padded = found.keys(5), found.padded(6).keys(5)
    assert (keys == padded).all()
    expected = [[same(found[i], found[j]) for j in range(200)] for i in range(200)]
    assert (keys[:, None] == keys[None, :]).tolist() == expected


def test_rules_of_the_benchmarks_spaces():
    wiring, space = nasbench201.ADJACENCY, nasbench201_space()
    types = np.array([[0, 1, 2, 3, 4, 5, 1, 6]], np.int8)
    assert space.valid(Graphs(types, wiring[None])).all()
    more = wiring.copy()
    more[0, 7] = True
    assert not space.valid(Graphs(types, more[None])).any()

    space, chain = enas_space(), np.eye(8, k=1, dtype=bool)
    types = np.array([[0, 1, 2, 3, 4, 5, 6, 7]], np.int8)
    skip, to_output, broken = chain.copy(), chain.copy(), chain.copy()
    skip[0, 4] = to_output[3, 7] = broken[0, 3] = broken[1, 3] = True
    broken[2, 3] = False
    broken[2, 4] = True
    found = [space.valid(Graphs(types, adjacency[None])).item() for adjacency in (chain, skip, to_output, broken)]
    assert found == [True, True, False, False]
    assert not enas_space(5).valid(Graphs(types, chain[None])).any()
    assert not enas_space(12).valid(Graphs(types, chain[None])).any()

    space, dense = nasbench101_space(), np.triu(np.ones((1, 5, 5), bool), 1)  # 10 edges
    types = np.array([[0, 1, 2, 3, 4]], np.int8)
    fewer = dense.copy()
    fewer[0, 0, 4] = False
    assert [space.valid(Graphs(types, edges)).item() for edges in (dense, fewer)] == [False, True]


@pytest.mark.parametrize(
    "space", [enas_space(), nasbench101_space(), nasbench201_space(), cell_space(CELLS)], ids=lambda space: space.name
)
def test_spaces_reach_other_processes_with_their_rules(space, graphs):
    again, padded = pickle.loads(pickle.dumps(space)), graphs.padded(space.max_nodes)
    assert (again.name, again.types, again.max_nodes) == (space.name, space.types, space.max_nodes)
    assert (again.rule(padded) == space.rule(padded)).all()


def test_cells_become_graphs_and_come_back():
    cells = prune(CELLS.sample(np.random.default_rng(0), 200))
    found = graphs_of_cells(CELLS, cells)
    space = cell_space(CELLS)
    assert space.valid(space.check(found)).all()
    assert found.types.shape == (200, 7)
    back = CELLS.to_cells(cells_of_graphs(CELLS, found))
    assert [cell.digest() for cell in back] == [cell.digest() for cell in CELLS.to_cells(cells)]
    leaf_and_more = Graphs(found.types.copy(), found.adjacency.copy())
    leaf_and_more.adjacency[np.arange(200), 0, found.sizes - 1] = True  # the input is no leaf
    assert not space.valid(leaf_and_more).any()


def test_a_small_space_is_learned_wholly_and_decoded_to_valid_graphs_only(learned, graphs):
    for two_sided in (True, False):
        decoded = learned.decode(learned.embed(graphs), two_sided=two_sided)
        assert (decoded.keys(4) == graphs.keys(4)).all()
    assert MADE.valid(decoded).all()
    figures = learned.evaluate(graphs)
    assert figures["types right"] == figures["edges right"] == 1
    assert reconstruction(learned, graphs, seed=0) > 0.99  # types and edges are drawn, so that it nears 1 with training


def test_random_points_of_a_learned_latent_space_decode_to_valid_graphs(learned, graphs):
    found = prior(learned, graphs, seed=0, points=200)
    assert found["validity"] > 0.95
    assert found["uniqueness"] > 20 / 2000


def test_isomorphic_graphs_in_another_order_have_the_same_vector(quick):
    found = every_graph(MADE)
    twins = found[~ordered(found)]
    assert len(twins) == 6
    turned = Graphs(twins.types[:, [0, 2, 1, 3]], twins.adjacency)  # both inner nodes have the same neighbours
    assert np.allclose(quick.embed(twins), quick.embed(turned), atol=1e-6)


def test_measures_are_what_counting_one_by_one_gives(quick, graphs):
    some = graphs[::9]
    rng = np.random.default_rng(5)
    decoded = quick.decode(rng.standard_normal((300, 8)), seed=1)
    valid = [g for g in (decoded[i] for i in range(300)) if slowly_valid(g.types.tolist(), g.adjacency.tolist(), MADE.end)]
    valid, known = [labelled(g) for g in valid], [labelled(some[i]) for i in range(len(some))]
    distinct = []
    for g in valid:
        if not any(isomorphic(g, other) for other in distinct):
            distinct.append(g)
    novel = [g for g in valid if not any(isomorphic(g, other) for other in known)]
    assert 0 < len(valid) < 300
    assert judge(quick, decoded, some) == pytest.approx(
        {"validity": len(valid) / 300, "uniqueness": len(distinct) / len(valid), "novelty": len(novel) / len(valid)}
    )


def test_reconstruction_is_what_counting_one_by_one_gives(graphs):
    class Recorder(SVGe):
        def decode(self, latent, seed=None, **settings):
            found = super().decode(latent, seed, **settings)
            decodings.append((latent, found))
            return found

    model, decodings = Recorder(MADE, **{**QUICK, "epochs": 1}), []
    model.fit(graphs, 0)
    some = graphs[:4]
    share = reconstruction(model, some, seed=3, encodings=5, decodings=40)
    ((latent, found),) = decodings
    assert share * 800 == pytest.approx(sum(same(some[i // 200], found[i]) for i in range(800)))
    assert share > 0
    assert len(np.unique(latent, axis=0)) == 4 * 5  # noise for each encoding, none for a decoding
    mean, log_variance = model.encode(some)
    z = (latent - np.repeat(mean, 200, 0)) / np.exp(0.5 * np.repeat(log_variance, 200, 0))
    assert 0.005 < z.std() < 0.015


def test_graphs_are_embedded_each_by_itself_with_any_padding(quick, graphs):
    together = quick.embed(graphs)
    one_by_one = np.concatenate([quick.embed(graphs[i : i + 1]) for i in range(len(graphs))])
    assert np.allclose(together, one_by_one, atol=1e-5)
    tight = [Graphs(g.types[:, : g.sizes[0]], g.adjacency[:, : g.sizes[0], : g.sizes[0]]) for g in (graphs[:1], graphs[20:21])]
    larger = quick.for_space(GraphSpace("larger", MADE.types, 9))
    assert np.allclose(larger.embed(graphs), together, atol=1e-5)
    assert np.allclose(np.concatenate([quick.embed(g) for g in tight]), together[[0, 20]], atol=1e-5)
    assert quick.embed(graphs[:0]).shape == (0, 8)
    assert together.dtype == np.float32


def test_losses_and_gradients_do_not_hang_on_padding_or_the_other_graphs(graphs):
    torch.manual_seed(0)
    encoder, decoder = GraphEncoder(5, 8, 16, 2), GraphDecoder(5, 8, 16, 2)

    def losses(some):
        types, adjacency = torch.from_numpy(some.types).long(), torch.from_numpy(some.adjacency).float()
        found = decoder(encoder(types, adjacency)[0], types, adjacency)
        return found.types + found.edges

    def gradients(some):
        losses(some).sum().backward()
        found = [p.grad.clone() for p in (*encoder.mean.parameters(), *decoder.parameters())]
        encoder.zero_grad()
        decoder.zero_grad()
        return found

    some = Graphs.concatenate([graphs[:3], graphs[20:23]])
    alone = torch.cat([losses(some[i : i + 1]) for i in range(6)])
    assert torch.allclose(losses(some), alone, atol=1e-5)
    assert torch.allclose(losses(some.padded(7)), alone, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(gradients(some), gradients(some.padded(7))))


def test_messages_are_sums_over_edges_of_the_papers_message_then_a_gru(graphs):
    torch.manual_seed(0)
    encoder = GraphEncoder(5, 6, 8, 2)
    types, adjacency = torch.from_numpy(graphs.types[-1]).long(), graphs.adjacency[-1]
    h = {"forward": encoder.embedding(types), "reverse": encoder.embedding(types)}
    for direction, edges in (("forward", adjacency), ("reverse", adjacency.T)):
        for layer in getattr(encoder.messages, f"{direction}_layers"):
            messages = [
                sum(
                    (layer.message(torch.cat([h[direction][u], h[direction][v]])) for u in np.flatnonzero(edges[:, v])),
                    torch.zeros(8),
                )
                for v in range(4)
            ]
            h[direction] = layer.update(torch.stack(messages), h[direction])
    nodes = torch.cat([h["forward"], h["reverse"]], 1)
    mean = sum(torch.sigmoid(encoder.mean.gate(x)) * encoder.mean.value(x) for x in nodes)
    found, _ = encoder(types[None], torch.from_numpy(adjacency[None]))
    assert torch.allclose(found[0], mean, atol=1e-5)


def test_gradients_reach_every_parameter(graphs):
    model = SVGe(MADE, **QUICK)
    model.net = model._new_net()
    losses, _ = model._loss(*model._tensors(graphs), torch.Generator().manual_seed(0))
    losses["loss"].backward()
    silent = [name for name, p in model.net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_a_graph_reversed_twice_is_itself_and_sides_are_laid_end_to_end():
    found = random_graphs(2, 100, 5, 4)
    types, adjacency = torch.from_numpy(found.types).long(), torch.from_numpy(found.adjacency).float()
    once = reverse(types, adjacency)
    for b, size in enumerate(found.sizes):
        assert once[0][b, :size].tolist() == types[b, :size].flip(0).tolist()
        assert torch.equal(once[1][b, :size, :size], adjacency[b, :size, :size].T.flip(0, 1))
    twice = reverse(*once)
    assert torch.equal(twice[0], types)
    assert torch.equal(twice[1], adjacency)
    chain = torch.eye(5).roll(1, 1).triu()[None]  # of 5 nodes, laid along a graph of 3: its last three
    assert torch.equal(
        reverse(torch.arange(5)[None], chain, torch.tensor([3]))[1][0, :3, :3], torch.eye(5).roll(1, 1)[:3, :3].triu()
    )


def test_decoding_gives_graphs_in_order_and_what_is_enforced_holds(quick):
    latent = 3 * np.random.default_rng(0).standard_normal((500, 8))
    for two_sided in (True, False):
        found = quick.decode(latent, seed=0, two_sided=two_sided)
        MADE.check(found)
        assert (found.types[:, 0] == 0).all()
        assert found.adjacency[:, 0, 1].all()
        assert (found.types[found.sizes == 4, 3] == MADE.end).all()
        assert ((found.types == MADE.end).sum(1) == 1).all()
    longer = quick.decode(latent, seed=0, max_nodes=9)
    assert longer.types.shape == (500, 9)
    assert longer.sizes.max() > 4


def test_drawn_decodings_depend_on_the_seed_alone_and_likeliest_ones_on_nothing(quick):
    latent = np.random.default_rng(0).standard_normal((200, 8))
    keys = [quick.decode(latent, seed).keys(4) for seed in (0, 0, 1, None, None)]
    assert (keys[0] == keys[1]).all()
    assert (keys[3] == keys[4]).all()
    assert not (keys[0] == keys[2]).all()
    assert (quick.decode(latent[7:8]).keys(4) == keys[3][7]).all()
    assert len(quick.decode(latent[:0], 0)) == 0


def test_no_graph_ends_before_it_has_the_nodes_asked_for(quick):
    latent = 3 * np.random.default_rng(0).standard_normal((300, 8))
    larger = quick.for_space(GraphSpace("larger", MADE.types, 6))
    for two_sided in (True, False):
        found = larger.decode(latent, seed=0, two_sided=two_sided, min_nodes=6)
        assert (found.sizes == 6).all()
        assert ((found.types == MADE.end).sum(1) == 1).all()
    assert larger.decode(latent, seed=0, min_nodes=5).sizes.min() == 5
    assert (larger.decode(latent, seed=0, min_nodes=2).keys(6) == larger.decode(latent, seed=0).keys(6)).all()


def test_the_kernel_loss_makes_cosines_follow_the_kernel(graphs):
    kernel = wl_gram(graphs.cells)[np.triu_indices(len(graphs), 1)]
    found = {}
    for weight in (0.0, 50.0):
        model = SVGe(MADE, **{**QUICK, "epochs": 25}, similarity_weight=weight)
        figures = model.fit(graphs, seed=0)
        unit = model.embed(graphs) / np.linalg.norm(model.embed(graphs), axis=1, keepdims=True)
        found[weight] = ((unit @ unit.T)[np.triu_indices(len(graphs), 1)] - kernel) ** 2
        assert ("similarity loss" in figures) == (weight > 0)
    assert found[50.0].mean() < 0.5 * found[0.0].mean()


def test_two_sides_together_have_the_edges_of_either(quick):
    latent = 20 * np.random.default_rng(0).standard_normal((300, 8))
    both, first = quick.decode(latent), quick.decode(latent, two_sided=False)
    assert (both.types == first.types).all()
    assert (both.adjacency >= first.adjacency).all()
    assert (both.adjacency > first.adjacency).any()


@pytest.mark.parametrize(("schedule", "clip"), [("plateau", 0.0), ("cosine", 0.5)])
def test_training_is_deterministic_and_goes_on_from_any_epoch_to_the_same_weights(graphs, tmp_path, schedule, clip):
    class Stop(Exception):
        pass

    def stop_in_second_epoch(done, total, note):
        if note.startswith("epoch 2"):
            raise Stop

    settings = {**QUICK, "epochs": 4, "patience": 1, "schedule": schedule, "clip": clip}
    whole, again = SVGe(MADE, **settings), SVGe(MADE, **settings)
    figures = whole.fit(graphs, seed=3)
    with pytest.raises(Stop):
        again.fit(graphs, 3, stop_in_second_epoch, directory=tmp_path)
    again = SVGe(MADE, **settings)
    assert again.fit(graphs, 3, directory=tmp_path) == figures
    assert all(torch.equal(a, b) for a, b in zip(whole.weights().values(), again.weights().values()))
    assert SVGe(MADE, **settings).fit(graphs, 3, directory=tmp_path) == figures  # nothing is left to do
    torch.load(tmp_path / CHECKPOINT, weights_only=True)
    epochs = history(tmp_path)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert all(epoch["seconds"] > 0 for epoch in epochs)
    assert epochs[-1]["loss"] == figures["loss"] < epochs[0]["loss"]
    fewer = {
        "plateau": r"checkpoint\.pt: has 4 epochs behind it, more than the 2 wanted",
        "cosine": r"of another training: epochs was 4, now 2",
    }
    with pytest.raises(SearchError, match=fewer[schedule]):
        SVGe(MADE, **{**settings, "epochs": 2}).fit(graphs, 3, directory=tmp_path)
    for change, name in (({"seed": 4}, "seed"), ({"graphs": graphs[:-1]}, "data|rows")):
        with pytest.raises(SearchError, match=rf"checkpoint\.pt: of another training: ({name}) was"):
            SVGe(MADE, **settings).fit(**{"graphs": graphs, "seed": 3, "directory": tmp_path, **change})
    with pytest.raises(SearchError, match=r"of another training: state was 16, now 32"):
        SVGe(MADE, **{**settings, "state": 32}).fit(graphs, 3, directory=tmp_path)


@pytest.mark.parametrize(("name", "value"), [("history", 3), ("figures", []), ("epoch", "4"), ("identity", "[]")])
def test_a_checkpoint_with_values_of_the_wrong_kind_is_refused_by_name(graphs, tmp_path, name, value):
    SVGe(MADE, **QUICK).fit(graphs, 0, directory=tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    torch.save({**state, name: value}, tmp_path / CHECKPOINT)
    with pytest.raises(SearchError, match=r"checkpoint\.pt: cannot be read as a checkpoint: the wrong kind of values"):
        history(tmp_path)


def test_the_cosine_schedule_rises_and_falls_to_nothing():
    plan, optimizer = Plan(epochs=10, lr=1.0, schedule="cosine"), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, rates = plan.of(optimizer, steps=20), []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    top = int(np.argmax(rates))
    assert rates[0] < 0.2 < 0.99 < rates[top]
    assert top == 5  # 3 % of 200 steps
    assert all(a > b for a, b in zip(rates[top:], rates[top + 1 :]))
    assert rates[-1] < 1e-3
    with pytest.raises(SearchError, match="schedule: expected one of plateau, cosine, found 'step'"):
        Plan(schedule="step")


def test_the_gradient_is_clipped_to_the_norm_asked_for():
    norms = []

    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.at = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
            self.at.register_post_accumulate_grad_hook(lambda p: norms.append(p.grad.norm().item()))

    def norm(clip):
        net = Line()
        train(net, lambda rows, generator: {"loss": 100 * (net.at**2).sum()}, 4, Plan(epochs=1, batch=4, lr=0.1, clip=clip), 0)
        return net.at.grad.norm().item()

    assert norm(0.0) == pytest.approx(norms[0]) == pytest.approx(1000)
    assert norm(0.25) == pytest.approx(0.25, rel=1e-4)
    with pytest.raises(SearchError, match="clip: expected a number from 0, found -1"):
        Plan(clip=-1)


@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused_by_name(graphs, tmp_path, content):
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(SearchError, match=r"checkpoint\.pt: cannot be read as a checkpoint"):
        SVGe(MADE, **QUICK).fit(graphs, 0, directory=tmp_path)


def test_a_loss_that_is_not_a_number_is_told(graphs):
    with pytest.raises(SearchError, match="the loss is not a number in epoch 1: lower the learning rate"):
        SVGe(MADE, **{**QUICK, "lr": 1e30}).fit(graphs, 0)


def test_the_fine_tuned_head_learns_accuracies_and_is_saved_with_the_rest(graphs, tmp_path):
    accuracies = 0.9 - 0.01 * graphs.sizes + 0.02 * (graphs.types == 1).sum(1)
    model = SVGe(MADE, **{**QUICK, "dim": 56})
    model.fit(graphs, 0)
    with pytest.raises(RuntimeError, match="call fine_tune first"):
        model.predict(model.embed(graphs))
    figures = model.fine_tune(graphs, accuracies, 0, plan=Plan(25, 33, 5e-3))
    widths = [tuple(layer.weight.shape) for layer in model.net["head"].layers if hasattr(layer, "weight")]
    assert widths == [(28, 56), (14, 28), (7, 14), (1, 7)]  # the paper's
    predicted = model.predict(model.embed(graphs))
    assert predicted.dtype == np.float64
    assert figures["RMSE"] < 0.5
    assert np.corrcoef(predicted, accuracies)[0, 1] > 0.9
    assert abs(predicted.mean() - accuracies.mean()) < 0.01
    model.save(tmp_path)
    again = SVGe.load(tmp_path, MADE)
    assert np.array_equal(again.predict(again.embed(graphs)), predicted)
    with pytest.raises(SearchError, match="expected 80 finite accuracies"):
        model.fine_tune(graphs[:80], accuracies[:3], 0)


def test_a_saved_model_comes_back_and_foreign_ones_are_refused(quick, graphs, tmp_path):
    quick.save(tmp_path)
    again = SVGe.load(tmp_path, MADE)
    assert np.array_equal(again.embed(graphs), quick.embed(graphs))
    assert (again.decode(quick.embed(graphs), 5).keys(4) == quick.decode(quick.embed(graphs), 5).keys(4)).all()
    with pytest.raises(SearchError, match="trained for the space"):
        SVGe.load(tmp_path, enas_space())
    text = (tmp_path / "encoder.json").read_text()
    for change, message in (({"type": "svge"}, "expected type 'svge_graphs'"), ({"settings": {"width": 1}}, "width")):
        (tmp_path / "encoder.json").write_text(json.dumps(json.loads(text) | change))
        with pytest.raises(SearchError, match=message):
            SVGe.load(tmp_path, MADE)
    settings = {**json.loads(text)["settings"], "state": 32}
    (tmp_path / "encoder.json").write_text(json.dumps(json.loads(text) | {"settings": settings}))
    with pytest.raises(SearchError, match=r"encoder\.safetensors: not the weights of this encoder"):
        SVGe.load(tmp_path, MADE)


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (np.zeros((3, 7)), r"expected numbers \[B, 8\], found float64 \[3, 7\]"),
        (np.zeros(8), r"expected numbers \[B, 8\]"),
        (np.array([["a"] * 8]), r"expected numbers"),
        (np.array([[0.0] * 8, [np.nan] * 8]), "row 1 is not finite"),
        (np.full((1, 8), np.inf), "row 0 is not finite"),
    ],
)
def test_latent_vectors_that_make_no_sense_are_refused(quick, latent, message):
    for use in (quick.decode, quick.predict):
        with pytest.raises(SearchError, match=message):
            use(latent)


@pytest.mark.parametrize(
    ("types", "edges", "message"),
    [
        ([0, 1, 1, 1, 4], [(0, 1)], "a graph has 5 nodes; the space allows 4"),
        ([0, 5], [], "expected types from -1 to 4"),
        ([0, -1, 4], [], "in its first places"),
        ([-1, -1], [], "one at least"),
        ([0, 1, 4], [(1, 0)], "u < v"),
        ([0, 4, -1], [(0, 2)], "between nodes that are there"),
    ],
)
def test_graphs_that_make_no_sense_are_refused(quick, types, edges, message):
    adjacency = np.zeros((1, len(types), len(types)), bool)
    for u, v in edges:
        adjacency[0, u, v] = True
    with pytest.raises(SearchError, match=message):
        quick.embed(Graphs(np.array([types], np.int8), adjacency))


def test_graphs_of_the_wrong_shape_and_an_untrained_model_are_refused(quick, graphs):
    with pytest.raises(SearchError, match=r"expected types \[B, n\] and adjacency bool \[B, n, n\]"):
        quick.embed(Graphs(graphs.types, graphs.adjacency[:, :3]))
    with pytest.raises(RuntimeError, match="call fit first"):
        SVGe(MADE).embed(graphs)
    with pytest.raises(SearchError, match="no graphs to train on"):
        SVGe(MADE).fit(graphs[:0], 0)
    with pytest.raises(SearchError, match="no graphs to reconstruct"):
        reconstruction(quick, graphs[:0], 0)
    with pytest.raises(SearchError, match="space enas6: has the types"):
        quick.for_space(enas_space())


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 0}, {"state": 15}, {"state": 10**9}, {"layers": 0}, {"epochs": 1.5}, {"batch": 0}, {"lr": 0}, {"noise": -1},
        {"kl_weight": float("nan")}, {"edge_weight": 1}, {"patience": 0}, {"device": "abacus"}, {"cells": 0}, {"width": 3},
        {"similarity_weight": -1.0}, {"h": -1}, {"clip": -1.0},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name(settings):
    with pytest.raises(SearchError, match=next(iter(settings))):
        build_encoder("svge", CELLS, **settings)


def test_a_search_trains_saves_loads_and_uses_it_by_name(tmp_path):
    encoder = build_encoder("svge", CELLS, cells=64, epochs=2, state=16, dim=8)
    seen = []
    figures = encoder.fit(0, lambda *state: seen.append(state[:2]))
    assert seen == [(1, 2), (2, 2)]
    assert set(figures) == {"R^2", "Spearman", "similarity MSE", "types right", "edges right"}
    cells = prune(CELLS.sample(np.random.default_rng(7), 50))
    vectors = encoder.embed(cells)
    assert vectors.shape == (50, 8)
    encoder.save(tmp_path)
    again = load_encoder(tmp_path, CELLS)
    assert type(again) is type(encoder)
    assert np.array_equal(again.embed(cells), vectors)
    assert again.settings == encoder.settings
    decoded = encoder.decode(vectors, seed=0)
    assert len(decoded) == 50
    assert len(CELLS.to_cells(encoder.cells_of(decoded))) == encoder.model.space.valid(decoded).sum()
    with pytest.raises(SearchError, match="a cell has 8 nodes; the space allows 6"):
        encoder.embed(CellArrays(np.zeros((1, 8, 8), bool), np.ones((1, 8), np.int8)))


GOOD_LINE = "[[1], [4, 0], [5, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1, 1], [3, 0, 0, 0, 0, 1]], 0.7302"


def test_enas_lines_are_read_as_written(tmp_path):
    (tmp_path / "enas.txt").write_text(GOOD_LINE)
    found, accuracies = read_enas(tmp_path / "enas.txt", burn_in=0)
    assert accuracies.tolist() == [0.7302]
    assert found.types.tolist() == [[0, 2, 5, 6, 1, 3, 4, 7]]
    edges = {(i, i + 1) for i in range(7)} | {(0, 4), (1, 4), (2, 4), (0, 5), (1, 5), (2, 5), (3, 5), (4, 6)}
    assert set(map(tuple, np.argwhere(found.adjacency[0]).tolist())) == edges


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[[1]], 0.7",
        GOOD_LINE[:-8],
        GOOD_LINE.replace("0.7302", "7.3"),
        GOOD_LINE.replace("[1]", "[6]"),
        GOOD_LINE.replace("[4, 0]", "[4, 2]"),
        GOOD_LINE.replace("[4, 0]", "[4, true]"),
        GOOD_LINE.replace("[4, 0]", "4"),
        GOOD_LINE + ", 3",
        "__import__('os')",
        "[" * 100_000,
    ],
)
def test_a_malformed_enas_line_is_told_with_its_file_and_number(tmp_path, line):
    (tmp_path / "enas.txt").write_text(f"{GOOD_LINE}\n{line}\n{GOOD_LINE}\n")
    with pytest.raises(SearchError, match=r"enas\.txt, line 2: expected"):
        read_enas(tmp_path / "enas.txt", burn_in=0)


@pytest.mark.parametrize("reader", [read_enas, nasbench101.load_table, nasbench201.load_table])
def test_a_file_that_is_missing_or_something_else_is_told(tmp_path, reader):
    with pytest.raises(SearchError, match="nowhere"):
        reader(tmp_path / "nowhere")
    (tmp_path / "other").write_bytes(b"\xff\xfe0")
    with pytest.raises(SearchError, match="other"):
        reader(tmp_path / "other")
    np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    with pytest.raises(SearchError, match=r"arrays\.npz"):
        reader(tmp_path / "arrays.npz")


def read_nasbench101(path):
    table = nasbench101.load_table(path)
    return graphs_of_table(table), table.test_accuracy()


def read_nasbench201(path):
    table = nasbench201.load_table(path)
    return graphs_of_table(table), table.validation_accuracy


@pytest.mark.parametrize(
    ("name", "reader", "space", "count", "distinct"),
    [
        ("enas_final_structures6.txt", read_enas, enas_space(), 19_020, 19_015),
        ("nasbench101.npz", read_nasbench101, nasbench101_space(), 423_624, 423_624),
        ("nasbench201.npz", read_nasbench201, nasbench201_space(), 15_625, 15_625),
    ],
    ids=["ENAS", "NAS-Bench-101", "NAS-Bench-201"],
)
def test_every_graph_of_the_real_files_is_valid_in_its_space(name, reader, space, count, distinct):
    found, accuracies = reader(real(name))
    found = space.check(found)
    assert len(found) == len(accuracies) == count
    assert space.valid(found).all()
    assert len(np.unique(found.keys(space.max_nodes))) == distinct
    assert 0 < accuracies.min() < accuracies.max() < 1


def test_a_split_leaves_nothing_out_and_has_nothing_twice():
    train, test = split(19_020)
    assert (len(train), len(test)) == (17_118, 1_902)
    assert sorted([*train, *test]) == list(range(19_020))
    assert (split(19_020)[0] == train).all()
    assert not (split(19_020, seed=1)[0] == train).all()
