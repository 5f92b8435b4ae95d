"""mmcv's compiled operators, mmcv on the stand-in, and a GPU, where they are there."""

import sys

import pytest
import torch

from gemnet.openmmlab.mmcv_ops import EXTENSION, Extension


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def compiled():
    extension = pytest.importorskip(EXTENSION)
    if isinstance(extension, Extension):
        pytest.skip("parity with mmcv's compiled operators: this mmcv was installed without them")
    return extension


@pytest.fixture
def use(monkeypatch):
    """Lets mmcv.ops run on an extension; on the stand-in from the start."""
    pytest.importorskip("mmcv.ops")

    def swap(extension):
        for name, module in list(sys.modules.items()):
            if name.startswith("mmcv.ops.") and hasattr(module, "ext_module"):
                monkeypatch.setattr(module, "ext_module", extension)

    swap(Extension(EXTENSION))
    return swap


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("parity of the GPU and the CPU: no GPU")
    return torch.device("cuda")
