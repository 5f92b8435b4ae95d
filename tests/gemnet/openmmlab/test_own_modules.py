"""A config's custom_imports finds modules in the working directory, such as one that registers an operator."""

import sys

import pytest
from extensions import registries_restored
from mmdet.registry import MODELS

from gemnet.cell import CellError
from gemnet.openmmlab.engine import load_config

MODULE = """
from torch import nn
import gemnet

@gemnet.register_operator("made_for_config")
def build(in_channels, out_channels, device=None, dtype=None, norm_layer=nn.BatchNorm2d, **layers):
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, device=device, dtype=dtype), norm_layer(out_channels))
"""
CONFIG = """
custom_imports = dict(imports=["made_module_of_a_config"])
model = dict(type="gemnet.GEMNet", cell="made.json", target_macs=30e6, out_indices=(1, 2))
"""
CELL = '{"format": "gemnet.cell", "version": 1, "nodes": ["input", "made_for_config"], "edges": [[0, 1]]}'


def test_an_operator_of_the_working_directory_is_in_a_backbone_with_the_configs_normalisation(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(tmp_path)
    for name, text in (("made_module_of_a_config.py", MODULE), ("config.py", CONFIG), ("made.json", CELL)):
        (tmp_path / name).write_text(text)
    with pytest.raises(CellError, match="unknown operator 'made_for_config'"):
        MODELS.build({"type": "gemnet.GEMNet", "cell": "made.json"})
    with registries_restored():
        model = load_config("config.py").model
        backbone = MODELS.build({**model, "norm_cfg": {"type": "SyncBN"}})
        assert {type(node.operator[1]).__name__ for node in backbone.stages[1].cells[0].nodes} == {"SyncBatchNorm"}
    del sys.modules["made_module_of_a_config"]
