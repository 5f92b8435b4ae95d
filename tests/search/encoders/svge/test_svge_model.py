import json

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_space import CELLS, QUICK, SMALL, every_graph, isomorphic, labelled, ordered, random_graphs, same, slowly_valid

from search.core.types import CellArrays, SearchError
from search.encoders import build_encoder, load_encoder, save_encoder
from search.encoders.svge.graph_spaces import enas_space
from search.encoders.svge.graphs import GraphSpace
from search.encoders.svge.measures import judge, prior, reconstruction
from search.encoders.svge.model import SVGe
from search.encoders.svge.network import GraphDecoder, GraphEncoder, place
from search.encoders.svge.readout import LinearReadout
from search.encoders.svge.training import Plan
from search.kernel.wl import wl_gram
from search.spaces.dag import prune


def test_a_small_space_is_learned_wholly_and_decoded_to_valid_graphs_only(learned, graphs):
    for two_sided in (True, False):
        decoded = learned.decode(learned.embed(graphs), two_sided=two_sided)
        assert (decoded.keys(4) == graphs.keys(4)).all()
    assert SMALL.valid(decoded).all()
    figures = learned.evaluate(graphs)
    assert figures["types right"] == figures["edges right"] == 1
    assert reconstruction(learned, graphs, seed=0) > 0.99  # types and edges are drawn, so that it nears 1 with training


def test_random_points_of_a_learned_latent_space_decode_to_valid_graphs(learned, graphs):
    found = prior(learned, graphs, seed=0, points=200)
    assert found["validity"] > 0.95
    assert found["uniqueness"] > 20 / 2000


def test_isomorphic_graphs_in_another_order_have_the_same_vector(quick):
    found = every_graph(SMALL)
    twins = found[~ordered(found)]
    assert len(twins) == 6
    turned = CellArrays(twins.adjacency, twins.operators[:, [0, 2, 1, 3]])  # both inner nodes have the same neighbours
    assert np.allclose(quick.embed(twins), quick.embed(turned), atol=1e-6)


def test_measures_are_what_counting_one_by_one_gives(quick, graphs):
    some = graphs[::9]
    rng = np.random.default_rng(5)
    decoded = quick.decode(rng.standard_normal((300, 8)), seed=1)
    valid = [g for g in (decoded[i] for i in range(300)) if slowly_valid(g.operators.tolist(), g.adjacency.tolist(), SMALL.end)]
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
            decodings.append((latent, settings["times"], found))
            return found

    model, decodings = Recorder(SMALL, **{**QUICK, "epochs": 1}), []
    model.fit(graphs, 0)
    some = graphs[:4]
    share = reconstruction(model, some, seed=3, encodings=5, decodings=40)
    ((latent, times, found),) = decodings
    assert (len(latent), times, len(found)) == (4 * 5, 40, 800)
    assert share * 800 == pytest.approx(sum(same(some[i // 200], found[i]) for i in range(800)))
    assert share > 0
    assert len(np.unique(latent, axis=0)) == 4 * 5  # noise for each encoding, none for a decoding
    mean, log_variance = model.encode(some)
    z = (latent - np.repeat(mean, 5, 0)) / np.exp(0.5 * np.repeat(log_variance, 5, 0))
    assert 0.005 < z.std() < 0.015


def test_graphs_are_embedded_each_by_itself_with_any_padding(quick, graphs):
    together = quick.embed(graphs)
    one_by_one = np.concatenate([quick.embed(graphs[i : i + 1]) for i in range(len(graphs))])
    assert np.allclose(together, one_by_one, atol=1e-5)
    tight = [
        CellArrays(g.adjacency[:, : g.sizes[0], : g.sizes[0]], g.operators[:, : g.sizes[0]])
        for g in (graphs[:1], graphs[20:21])
    ]
    larger = quick.for_space(GraphSpace("larger", SMALL.types, 9))
    assert np.allclose(larger.embed(graphs), together, atol=1e-5)
    assert np.allclose(np.concatenate([quick.embed(g) for g in tight]), together[[0, 20]], atol=1e-5)
    assert quick.embed(graphs[:0]).shape == (0, 8)
    assert together.dtype == np.float32


def test_losses_and_gradients_do_not_hang_on_padding_or_the_other_graphs(graphs):
    torch.manual_seed(0)
    encoder, decoder = GraphEncoder(5, 8, 16, 2), GraphDecoder(5, 8, 16, 2)

    def losses(some):
        types, adjacency = torch.from_numpy(some.operators).long(), torch.from_numpy(some.adjacency).float()
        found = decoder(encoder(types, adjacency)[0], types, adjacency)
        return found.types + found.edges

    def gradients(some):
        losses(some).sum().backward()
        found = [p.grad.clone() for p in (*encoder.mean.parameters(), *decoder.parameters())]
        encoder.zero_grad()
        decoder.zero_grad()
        return found

    some = CellArrays.concatenate([graphs[:3], graphs[20:23]])
    alone = torch.cat([losses(some[i : i + 1]) for i in range(6)])
    assert torch.allclose(losses(some), alone, atol=1e-5)
    assert torch.allclose(losses(some.padded(7)), alone, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(gradients(some), gradients(some.padded(7))))


def test_messages_are_sums_over_edges_of_the_papers_message_then_a_gru(graphs):
    torch.manual_seed(0)
    encoder = GraphEncoder(5, 6, 8, 2)
    types, adjacency = torch.from_numpy(graphs.operators[-1]).long(), graphs.adjacency[-1]
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


@pytest.mark.parametrize("added", [{}, {"exchange": True, "places": True, "readout": 0.2}])
def test_gradients_reach_every_parameter(graphs, added):
    model = SVGe(SMALL, **QUICK, **added)
    model.net = model._new_net()
    losses, _ = model._loss(model.net, *model._tensors(graphs), torch.Generator().manual_seed(0))
    losses["loss"].backward()
    silent = [name for name, p in model.net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_sides_that_exchange_their_states_tell_cells_apart_that_others_do_not():
    types = np.array([[0, 3, 3, 1, 3, 1, 4]] * 2, np.int8)  # of NAS-Bench-101
    adjacency = np.zeros((2, 7, 7), bool)
    u, v = zip((0, 1), (1, 2), (2, 3), (2, 4), (3, 6), (4, 5), (5, 6))
    adjacency[:, u, v] = True
    adjacency[0, 1, 5] = adjacency[1, 1, 3] = True
    apart = {}
    for exchange in (False, True):
        torch.manual_seed(0)
        mean, _ = GraphEncoder(5, 8, 32, 2, exchange)(torch.from_numpy(types).long(), torch.from_numpy(adjacency))
        apart[exchange] = (mean[0] - mean[1]).abs().max().item()
    assert apart[False] < 1e-6 < 1e-3 < apart[True]


ADDED = {"exchange": True, "places": True, "readout": 0.2}


@pytest.mark.parametrize("name", ADDED)
def test_a_model_with_what_svge_has_not_is_trained_saved_and_comes_back(graphs, tmp_path, name):
    model = SVGe(SMALL, **QUICK, **{name: ADDED[name]})
    model.fit(graphs, seed=0)
    model.save(tmp_path)
    found = SVGe.load(tmp_path, SMALL)
    assert found.settings == model.settings
    assert getattr(found, name) == ADDED[name]
    assert (found.embed(graphs) == model.embed(graphs)).all()
    larger = GraphSpace("larger", SMALL.types, SMALL.max_nodes + 3)
    model.for_space(larger).save(tmp_path)
    assert (SVGe.load(tmp_path, larger).embed(graphs) == model.for_space(larger).embed(graphs)).all()
    bare = SVGe(SMALL, **QUICK)
    assert not set(ADDED) & set(bare.settings)  # as older files


def test_weights_of_a_model_with_other_parts_are_refused(quick, graphs):
    for name in ("places", "readout"):
        with pytest.raises(RuntimeError, match="depth" if name == "places" else "readout"):
            SVGe(SMALL, **QUICK, **{name: ADDED[name]}).load_weights(quick.weights())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"exchange": 1}, "exchange: expected True or False, found 1"),
        ({"places": "yes"}, "places: expected True or False, found 'yes'"),
        ({"readout": -0.1}, "readout: expected a number from 0, found -0.1"),
        ({"readout": True}, "readout: expected a number from 0, found True"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(SearchError, match=message):
        SVGe(SMALL, **setting)


def test_places_are_the_lengths_of_the_longest_paths(graphs):
    for some in (graphs, random_graphs(1, 200, 7, 5)):
        depths, heights = place(torch.from_numpy(some.adjacency))
        for b in range(len(some)):
            made = nx.DiGraph(np.argwhere(some.adjacency[b]).tolist())
            for v in made:
                ahead = made.subgraph(nx.descendants(made, v) | {v})
                behind = made.subgraph(nx.ancestors(made, v) | {v})
                assert heights[b, v] == nx.dag_longest_path_length(ahead)
                assert depths[b, v] == nx.dag_longest_path_length(behind)


def test_nodes_that_know_their_places_tell_chains_apart_that_messages_do_not():
    chain = np.zeros((2, 20, 20), bool)
    chain[:, np.arange(19), np.arange(1, 20)] = True
    types = np.full((2, 20), 1)
    types[:, 0], types[:, -1] = 0, 4
    types[0, [6, 13]], types[1, [6, 13]] = (2, 3), (3, 2)  # no node within two steps of one sees the other, or an end
    apart = {}
    for places in (0, 5, 20):  # 5: of 20 nodes in proportion
        torch.manual_seed(0)
        mean, _ = GraphEncoder(5, 8, 32, 2, places=places)(torch.from_numpy(types), torch.from_numpy(chain))
        apart[places] = (mean[0] - mean[1]).abs().max().item()
    assert apart[0] < 1e-6 < 1e-3 < min(apart[5], apart[20])


def test_isomorphic_graphs_have_the_same_vector_with_places_too(graphs):
    model = SVGe(SMALL, **{**QUICK, "epochs": 1}, **ADDED)
    model.fit(graphs, 0)
    found = every_graph(SMALL)
    twins = found[~ordered(found)]
    turned = CellArrays(twins.adjacency, twins.operators[:, [0, 2, 1, 3]])
    assert np.allclose(model.embed(twins), model.embed(turned), atol=1e-6)


@pytest.mark.slow  # its loss by hand, its gradients, and that it is trained, saved and read: in this file by default
def test_a_readout_makes_the_latent_space_linear_in_types_and_edges(graphs):
    u, v = np.triu_indices(4, 1)
    wanted = np.concatenate(
        [(graphs.operators[:, 1:, None] == np.arange(5)).reshape(len(graphs), -1), graphs.adjacency[:, u, v]], axis=1
    ).astype(float)
    wanted -= wanted.mean(0)
    unexplained = {}
    for readout in (0.0, 1.0):
        model = SVGe(SMALL, **{**QUICK, "dim": 20, "state": 32, "epochs": 60, "lr": 5e-3}, readout=readout)
        figures = model.fit(graphs, seed=0)
        vectors = np.column_stack([model.embed(graphs), np.ones(len(graphs))])
        told = vectors @ np.linalg.lstsq(vectors, wanted, rcond=None)[0]
        unexplained[readout] = ((told - wanted) ** 2).sum() / (wanted**2).sum()
        assert ("readout loss" in figures) == (readout > 0)
    assert unexplained[1.0] < 0.5 * unexplained[0.0]
    assert unexplained[1.0] < 0.1


def test_a_readout_counts_the_places_that_it_knows():
    torch.manual_seed(0)
    readout, latent = LinearReadout(5, 8, 4), torch.randn(1, 8)
    types, adjacency = torch.tensor([[0, 2, 3, 4]]), torch.ones(1, 4, 4).triu(1)
    logits = readout.types(latent).view(4, 6).log_softmax(1)
    edges = readout.edges(latent)[0]
    by_hand = -sum(logits[v, types[0, v] + 1] for v in range(4)) - edges.sigmoid().log().sum()
    assert torch.allclose(readout(latent, types, adjacency)[0], by_hand, atol=1e-5)
    more = F.pad(types, (0, 2), value=-1), F.pad(adjacency, (0, 2, 0, 2))
    assert torch.allclose(readout(latent, *more)[0], by_hand, atol=1e-5)
    fewer = readout(latent, types[:, :3], adjacency[:, :3, :3])[0]
    inside = [0, 1, 3]  # of the edges (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)
    assert torch.allclose(
        fewer, -sum(logits[v, types[0, v] + 1] for v in range(3)) - edges[inside].sigmoid().log().sum(), atol=1e-5
    )


@pytest.mark.long
def test_the_kernel_loss_makes_cosines_follow_the_kernel(graphs):
    kernel = wl_gram(graphs)[np.triu_indices(len(graphs), 1)]
    found = {}
    for weight in (0.0, 50.0):
        model = SVGe(SMALL, **{**QUICK, "epochs": 25}, similarity_weight=weight)
        figures = model.fit(graphs, seed=0)
        unit = model.embed(graphs) / np.linalg.norm(model.embed(graphs), axis=1, keepdims=True)
        found[weight] = ((unit @ unit.T)[np.triu_indices(len(graphs), 1)] - kernel) ** 2
        assert ("similarity loss" in figures) == (weight > 0)
    assert found[50.0].mean() < 0.5 * found[0.0].mean()


def test_the_fine_tuned_head_learns_accuracies_and_is_saved_with_the_rest(graphs, tmp_path):
    accuracies = 0.9 - 0.01 * graphs.sizes + 0.02 * (graphs.operators == 1).sum(1)
    model = SVGe(SMALL, **{**QUICK, "dim": 56})
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
    again = SVGe.load(tmp_path, SMALL)
    assert np.array_equal(again.predict(again.embed(graphs)), predicted)
    with pytest.raises(SearchError, match="expected 80 finite accuracies"):
        model.fine_tune(graphs[:80], accuracies[:3], 0)


def test_a_saved_model_comes_back_and_foreign_ones_are_refused(quick, graphs, tmp_path):
    quick.save(tmp_path)
    again = SVGe.load(tmp_path, SMALL)
    assert np.array_equal(again.embed(graphs), quick.embed(graphs))
    assert (again.decode(quick.embed(graphs), 5).keys(4) == quick.decode(quick.embed(graphs), 5).keys(4)).all()
    with pytest.raises(SearchError, match="trained for the space"):
        SVGe.load(tmp_path, enas_space())
    text = (tmp_path / "encoder.json").read_text()
    for change, message in (({"type": "svge"}, "expected type 'svge_graphs'"), ({"settings": {"width": 1}}, "width")):
        (tmp_path / "encoder.json").write_text(json.dumps(json.loads(text) | change))
        with pytest.raises(SearchError, match=message):
            SVGe.load(tmp_path, SMALL)
    settings = {**json.loads(text)["settings"], "state": 32}
    (tmp_path / "encoder.json").write_text(json.dumps(json.loads(text) | {"settings": settings}))
    with pytest.raises(SearchError, match=r"encoder\.safetensors: not the weights of this encoder"):
        SVGe.load(tmp_path, SMALL)


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (np.zeros((3, 7)), r"expected numbers \[B, 8\], found float64 \[3, 7\]"),
        (np.zeros(8), r"expected numbers \[B, 8\]"),
        (np.array([["a"] * 8]), r"expected numbers"),
        (np.array([[0.0] * 8, [np.nan] * 8]), r"row 1 has values that are not within ±1e\+06"),
        (np.full((1, 8), np.inf), "row 0 has values"),
        (np.array([[0.0] * 8, [1e300] * 8]), "row 1 has values"),
        (np.array([[0.0] * 8, [-3e38] * 8], np.float32), "row 1 has values"),
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
        ([0, -1, -1, -1, 4], [], "a graph has 5 nodes; the space allows 4"),
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
        quick.embed(CellArrays(adjacency, np.array([types], np.int8)))


def test_graphs_of_the_wrong_shape_and_an_untrained_model_are_refused(quick, graphs):
    with pytest.raises(SearchError, match=r"expected types, whole numbers \[B, n\], and adjacency bool \[B, n, n\]"):
        quick.embed(CellArrays(graphs.adjacency[:, :3], graphs.operators))
    with pytest.raises(RuntimeError, match="call fit first"):
        SVGe(SMALL).embed(graphs)
    with pytest.raises(SearchError, match="no graphs to train on"):
        SVGe(SMALL).fit(graphs[:0], 0)
    with pytest.raises(SearchError, match="no graphs to reconstruct"):
        reconstruction(quick, graphs[:0], 0)
    with pytest.raises(SearchError, match="space enas6: has the types"):
        quick.for_space(enas_space())


def test_a_search_trains_saves_loads_and_uses_it_by_name(tmp_path):
    encoder = build_encoder("svge", CELLS, cells=64, epochs=2, state=16, dim=8)
    seen = []
    figures = encoder.fit(0, lambda *state: seen.append(state[:2]))
    assert seen == [(1, 2), (2, 2)]
    assert set(figures) == {"R^2", "Spearman", "similarity MSE", "types right", "edges right"}
    cells = prune(CELLS.sample(np.random.default_rng(7), 50))
    vectors = encoder.embed(cells)
    assert vectors.shape == (50, 8)
    save_encoder(tmp_path, encoder)
    again = load_encoder(tmp_path, CELLS)
    assert type(again) is type(encoder)
    assert np.array_equal(again.embed(cells), vectors)
    assert again.settings == encoder.settings
    decoded = encoder.decode(vectors, seed=0)
    assert len(decoded) == 50
    assert len(CELLS.to_cells(encoder.cells_of(decoded))) == encoder.model.space.valid(decoded).sum()
    with pytest.raises(SearchError, match="a cell has 8 nodes; the space allows 6"):
        encoder.embed(CellArrays(np.zeros((1, 8, 8), bool), np.ones((1, 8), np.int8)))


def test_weights_are_taken_as_a_copy(graphs):
    models = [SVGe(SMALL, dim=8, state=16, epochs=1) for _ in range(2)]
    models[0].fit(graphs, 0)
    models[1].load_weights(models[0].weights())
    before = models[0].embed(graphs)
    assert np.array_equal(models[1].embed(graphs), before)
    models[1].fine_tune(graphs, np.linspace(0, 1, len(graphs)), 0, plan=Plan(epochs=1))
    assert np.array_equal(models[0].embed(graphs), before)
    assert not np.array_equal(models[1].embed(graphs), before)


@pytest.mark.parametrize("nodes", [1, 0, -1, 2.5])
def test_graphs_of_too_few_nodes_cannot_be_asked_for(quick, nodes):
    with pytest.raises(SearchError, match="max_nodes: expected a whole number from 2"):
        quick.decode(np.zeros((1, 8)), max_nodes=nodes)


def test_types_that_are_no_whole_numbers_are_refused(quick):
    with pytest.raises(SearchError, match=r"expected types, whole numbers .*found float64"):
        quick.embed(CellArrays(np.zeros((1, 3, 3), bool), np.array([[0, 1.7, 4]])))
