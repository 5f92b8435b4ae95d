"""What an encoder of one's own gets from the base class."""

import json

import numpy as np
import pytest

from search.core.types import CellArrays, Encoder
from search.encoders import DESCRIPTION, build_encoder, save_encoder
from search.encoders.io import restored
from search.spaces.dag import DagSpace, prune

SPACE = DagSpace(6)


class Sizes(Encoder):
    def __init__(self, space, scale=1.0, powers=(1, 2)):
        super().__init__(space, dim=len(powers))
        self.scale, self.powers = scale, tuple(powers)

    def embed(self, arrays):
        return (self.scale * arrays.sizes[:, None] ** np.array(self.powers)).astype(np.float32)


@pytest.fixture
def cells():
    return prune(SPACE.sample(np.random.default_rng(0), 20))


def test_predictors_are_handed_the_cells_as_they_are_with_their_vectors(cells):
    found = Sizes(SPACE).encode(cells)
    assert found.cells is cells
    assert np.array_equal(found.vectors, Sizes(SPACE).embed(cells))
    assert (found.groups, found.output) == (None, None)


def test_the_operator_that_only_ends_a_cell_is_told():
    class WithOutput:
        num_nodes, operators = 3, ("conv1x1", "output")

    cells = CellArrays(np.zeros((1, 3, 3), bool), np.array([[0, 1, 2]], np.int8))
    assert Sizes(WithOutput()).encode(cells).output == 2


def test_vectors_compare_by_their_cosines():
    a, b = np.array([[1, 0], [3, 4]], np.float32), np.array([[2, 2], [-3, -4]], np.float32)
    assert Sizes(SPACE).similarity(a, b) == pytest.approx([0.5**0.5, -1])


def test_its_files_tell_its_import_path_and_its_constructors_parameters(cells, tmp_path):
    encoder = Sizes(SPACE, scale=2.0)
    assert encoder.fit(seed=0) == {}
    save_encoder(tmp_path, encoder)
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    assert described["type"] == f"{__name__}:Sizes"
    assert described["settings"] == {"scale": 2.0, "powers": [1, 2]}
    again = restored(tmp_path, SPACE, lambda type, settings: Sizes(SPACE, **settings))
    assert np.array_equal(again.embed(cells), encoder.embed(cells))


@pytest.mark.parametrize(
    "name", ["adjacency", "autoencoder", "guided_counts", "kernel_guided", "landmarks", "statistics", "svge"]
)
def test_settings_of_the_built_in_ones_make_them_again(name):
    encoder = build_encoder(name, SPACE)
    assert encoder.name == name
    again = build_encoder(name, SPACE, **encoder.settings)
    assert (again.settings, again.dim, again.groups) == (encoder.settings, encoder.dim, encoder.groups)
