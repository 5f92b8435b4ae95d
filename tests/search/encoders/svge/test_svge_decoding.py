"""What SVGe decodes: what is drawn, what is enforced and repaired, and what is verified by encoding it again."""

from functools import partial

import numpy as np
import pytest
import torch
from small_space import CELLS, SMALL, random_graphs

from search.core.types import SearchError
from search.encoders.svge.graph_spaces import cell_space, enas_space, nasbench101_space, nasbench201_space
from search.encoders.svge.graphs import GraphSpace
from search.encoders.svge.measures import prior, reconstruction
from search.encoders.svge.model import SVGe
from search.encoders.svge.network import GraphDecoder, GraphEncoder, reverse
from search.encoders.svge.verified_decoding import decode_verified


def test_a_graph_reversed_twice_is_itself_and_sides_are_laid_end_to_end():
    found = random_graphs(2, 100, 5, 4)
    types, adjacency = torch.from_numpy(found.operators).long(), torch.from_numpy(found.adjacency).float()
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
        SMALL.check(found)
        assert (found.operators[:, 0] == 0).all()
        assert found.adjacency[:, 0, 1].all()
        assert (found.operators[found.sizes == 4, 3] == SMALL.end).all()
        assert ((found.operators == SMALL.end).sum(1) == 1).all()
    longer = quick.decode(latent, seed=0, max_nodes=9)
    assert longer.operators.shape == (500, 9)
    assert longer.sizes.max() > 4


def test_drawn_decodings_depend_on_the_seed_alone_and_likeliest_ones_on_nothing(quick):
    latent = np.random.default_rng(0).standard_normal((200, 8))
    keys = [quick.decode(latent, seed).keys(4) for seed in (0, 0, 1, None, None)]
    assert (keys[0] == keys[1]).all()
    assert (keys[3] == keys[4]).all()
    assert not (keys[0] == keys[2]).all()
    assert (quick.decode(latent[7:8]).keys(4) == keys[3][7]).all()
    assert len(quick.decode(latent[:0], 0)) == 0


@pytest.mark.parametrize(
    "settings", [{}, {"two_sided": False}, {"constrained": True}, {"seed": None}, {"max_nodes": 9}], ids=str
)
def test_several_graphs_of_a_vector_are_those_of_the_vector_given_as_often(quick, settings):
    latent, settings = 3 * np.random.default_rng(0).standard_normal((150, 8)), {"seed": 3, **settings}
    found = quick.decode(latent, times=12, **settings)
    wanted = quick.decode(np.repeat(latent, 12, 0), **settings)
    n = found.operators.shape[1]
    same = found.keys(n) == wanted.keys(n)
    assert len(same) == 1800
    assert same.mean() > 0.995  # the last bit of a sum depends on how many are computed at once
    distinct = [len(np.unique(keys)) for keys in found.keys(n).reshape(150, 12)]
    assert max(distinct) == 1 if settings["seed"] is None else np.mean(distinct) > 2
    for times in (0, 1.5):
        with pytest.raises(SearchError, match="times: expected a whole number from 1"):
            quick.decode(latent, times=times)


def test_no_graph_ends_or_begins_again_before_it_has_the_nodes_asked_for(quick):
    latent = 3 * np.random.default_rng(0).standard_normal((300, 8))
    larger = quick.for_space(GraphSpace("larger", SMALL.types, 6))
    for two_sided in (True, False):
        found = larger.decode(latent, seed=0, two_sided=two_sided, min_nodes=6)
        assert (found.sizes == 6).all()
        assert ((found.operators == SMALL.end).sum(1) == 1).all()
        assert ((found.operators == 0).sum(1) == 1).all()  # by the input's side such a network would end as the output's does
    assert larger.decode(latent, seed=0, min_nodes=5).sizes.min() == 5
    assert (larger.decode(latent, seed=0, min_nodes=2).keys(6) == larger.decode(latent, seed=0).keys(6)).all()


SPACES = [enas_space(), nasbench101_space(), nasbench101_space(8, 12), nasbench201_space(), cell_space(CELLS), SMALL]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.name}{space.max_nodes}")
@pytest.mark.parametrize("two_sided", [True, False])
def test_constrained_decoding_gives_graphs_of_the_space_alone_even_from_a_network_that_has_learned_nothing(space, two_sided):
    torch.manual_seed(0)
    model = SVGe(space, dim=8, state=16)
    net = torch.nn.ModuleDict(
        {"encoder": GraphEncoder(len(space.types), 8, 16, 2), "decoder": GraphDecoder(len(space.types), 8, 16, 2)}
    )
    model.load_weights(net.state_dict())
    latent = 5 * np.random.default_rng(0).standard_normal((400, 8))
    for seed in (0, None):
        bare = model.decode(latent, seed, two_sided)
        found = model.decode(latent, seed, two_sided, constrained=True)
        assert not space.valid(bare).all()
        assert space.valid(space.check(found)).all()
    assert (model.decode(latent, 0, two_sided, min_nodes=space.max_nodes, constrained=True).sizes > space.max_nodes - 2).all()


def test_constrained_decoding_leaves_graphs_of_the_space_as_they_are(learned, graphs):
    bare, found = learned.decode(learned.embed(graphs)), learned.decode(learned.embed(graphs), constrained=True)
    assert (found.keys(4) == bare.keys(4)).all()
    decode = partial(learned.decode, constrained=True)
    assert prior(learned, graphs, seed=0, points=50, decode=decode)["validity"] == 1
    assert reconstruction(learned, graphs, seed=0, decode=decode) > 0.99
    with pytest.raises(SearchError, match="for_space"):
        learned.decode(learned.embed(graphs), max_nodes=6, constrained=True)


def first_seed(seed):
    """Of what `decode_verified` draws before it checks."""
    return int(np.random.default_rng(seed).integers(2**62))


@pytest.mark.long
def test_checked_decodings_are_the_nearest_of_those_drawn(quick, graphs):
    mean = quick.embed(graphs)
    found = decode_verified(quick, mean, seed=3, times=2, attempts=5)
    assert SMALL.valid(found).all()
    assert (found.keys(4) == decode_verified(quick, mean, seed=3, times=2, attempts=5).keys(4)).all()

    def distances(decoded, times):  # of a graph's posterior from the vector, in its own standard deviations
        means, logs = quick.encode(decoded)
        return np.sqrt(((means - np.repeat(mean, times, 0)) ** 2 / np.exp(logs)).mean(1))

    drawn = distances(quick.decode(mean, 3, constrained=True, times=12), 12).reshape(len(graphs), 12)
    near = distances(found, 2)
    assert near.mean() < 0.75 * drawn.mean()  # of some ten of these the nearest, and not one of them by chance
    bare = decode_verified(quick, mean, seed=3, times=2, attempts=1)
    assert (distances(bare, 2) <= 1.001 * distances(quick.decode(mean, first_seed(3), constrained=True, times=2), 2)).all()
    assert len(decode_verified(quick, mean[:0], seed=0, times=2)) == 0
    share = reconstruction(quick, graphs, seed=0, decode=partial(decode_verified, quick))
    assert share > 3 * reconstruction(quick, graphs, seed=0, decode=partial(quick.decode, constrained=True))


def test_what_comes_back_to_its_vector_is_not_drawn_again(learned, graphs, monkeypatch):
    asked, decode = [], learned.decode

    def counted(latent, *args, **settings):
        asked.append(len(latent) * settings["times"])
        return decode(latent, *args, **settings)

    monkeypatch.setattr(learned, "decode", counted)
    found = decode_verified(learned, learned.embed(graphs), seed=0, times=10)
    assert asked[0] == 10 * len(graphs)
    assert sum(asked[1:]) < 30 * 0.03 * 10 * len(graphs)  # those that were drawn wrongly, 30 times each
    assert (found.keys(4) == np.repeat(graphs.keys(4), 10)).all()
    asked.clear()
    monkeypatch.setattr(learned, "noise", 100 * learned.noise)  # all is near enough then
    decode_verified(learned, learned.embed(graphs), seed=0, times=10)
    assert asked == [10 * len(graphs)]
    with pytest.raises(SearchError, match="attempts: expected a whole number from 1, found 0"):
        decode_verified(learned, learned.embed(graphs), seed=0, attempts=0)


def test_two_sides_together_have_the_edges_of_either(quick):
    latent = 20 * np.random.default_rng(0).standard_normal((300, 8))
    both, first = quick.decode(latent), quick.decode(latent, two_sided=False)
    assert (both.operators == first.operators).all()
    assert (both.adjacency >= first.adjacency).all()
    assert (both.adjacency > first.adjacency).any()


def test_where_two_sides_differ_the_surer_one_decides_if_decoding_is_constrained(quick):
    latent = torch.from_numpy(20 * np.random.default_rng(0).standard_normal((300, 8))).float()
    generate = quick.net["decoder"].generate
    types, first, chances = generate(latent, 4, two_sided=False, constrained=True)
    of_both, edges, likely = generate(latent, 4, constrained=True)
    assert torch.equal(of_both, types)
    assert torch.equal(edges, likely >= 0.5)  # what is enforced on one side stays, whatever the other says
    others = 2 * likely - chances  # of the side from the output
    assert ((others > -1e-6) & (others < 1 + 1e-6)).all()
    differ = (others > 0.5) != (chances > 0.5)
    surer = torch.where((others - 0.5).abs() > (chances - 0.5).abs(), others, chances) > 0.5
    as_sure = ((others - 0.5).abs() - (chances - 0.5).abs()).abs() < 1e-6
    assert (differ & ~as_sure).sum() > 100
    assert torch.equal(edges[differ & ~as_sure], surer[differ & ~as_sure])
    assert torch.equal(edges[~differ], first[~differ])
    assert (edges & ~first).any()
    assert (first & ~edges).any()
    drawn = [
        generate(latent, 4, torch.Generator().manual_seed(0), two_sided=both, constrained=True)[1] for both in (True, False)
    ]
    assert (drawn[0] != drawn[1]).any()
