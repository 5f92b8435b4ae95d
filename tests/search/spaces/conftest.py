"""Files of made tables, and the real ones, where they are."""

import numpy as np
import pytest
from made_tables import compact101, compact201, compact_macro, real

from search.spaces.nasbench101 import NasBench101Space
from search.spaces.nasbench201 import NasBench201Space
from search.spaces.nasbench_macro import NasBenchMacroSpace


@pytest.fixture
def made101(tmp_path):
    path = tmp_path / "nasbench101.npz"
    np.savez_compressed(path, **compact101())
    return path


@pytest.fixture
def made201(tmp_path):
    path = tmp_path / "nasbench201.npz"
    np.savez_compressed(path, **compact201())
    return path


@pytest.fixture(scope="session")
def made_macro(tmp_path_factory):
    path = tmp_path_factory.mktemp("macro") / "nasbench_macro.npz"
    np.savez_compressed(path, **compact_macro())
    return path


@pytest.fixture(scope="session")
def real101():
    return NasBench101Space(real("nasbench101.npz"))


@pytest.fixture(scope="session")
def real201():
    return NasBench201Space(real("nasbench201.npz"))


@pytest.fixture(scope="session")
def real_macro():
    return NasBenchMacroSpace(real("nasbench_macro.npz"))
