"""Published genotypes as networks: what they cost, that they learn, and what is refused."""

import json

import pytest
import torch

from gemnet.core.errors import UserError
from gemnet.counting import counted
from search.experiments.published.catalogue import NETWORKS, published
from search.experiments.published.genotypes import Genotype, GenotypeError

GOOD = {
    "normal": [["sep_conv_3x3", 0], ["skip_connect", 1]],
    "normal_concat": [2],
    "reduce": [["max_pool_3x3", 0], ["skip_connect", 1]],
    "reduce_concat": [2],
}


def test_the_network_of_gdas_has_the_published_params_and_macs():
    with torch.device("meta"):
        _, cost = counted(published("gdas").eval(), torch.empty(1, 3, 224, 224))
    assert cost.params / 1e6 == pytest.approx(5.3, rel=0.01)
    assert cost.macs / 1e6 == pytest.approx(581, rel=0.001)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_finite_and_every_parameter_learns(name):
    torch.manual_seed(0)
    layers = {} if name == "randwire" else {"layers": 5}
    network = published(name, channels=4, num_classes=7, **layers)
    out = network(torch.randn(2, 3, 72, 50))
    out.sum().backward()
    assert out.shape == (2, 7)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert torch.isfinite(network.eval()(torch.randn(1, 3, 64, 64))).all()


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(UserError, match="unknown network 'dart'; expected one of randwire, darts, p_darts"):
        published("dart")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"normal": [["sep_conv_9x9", 0], ["skip_connect", 1]]},
            "normal: node 2: unknown operator 'sep_conv_9x9'",
        ),
        ({"normal": GOOD["normal"][:1]}, "normal: 1 edges; expected two for each node"),
        (
            {"normal": [["skip_connect", 0], ["skip_connect", 2]]},
            "normal: node 2: skip_connect on node 2; expected a node",
        ),
        ({"reduce_concat": [3]}, "reduce: concat: expected some of the nodes 2 to 2"),
        ({"normal": [["skip_connect", 0], ["skip_connect", 0]]}, "normal: node 1: nothing reads it"),
        ({"reduce": []}, "reduce: expected a list of edges"),
    ],
)
def test_a_genotype_that_is_none_is_refused_with_the_place(changes, message, tmp_path):
    path = tmp_path / "cell.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    with pytest.raises(GenotypeError, match=rf"cell\.json: {message}"):
        Genotype.load(path)
