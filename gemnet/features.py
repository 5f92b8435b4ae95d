"""Any timm or torchvision model as a backbone for MMDetection and MMPretrain: `type='gemnet.FeatureBackbone'`."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from gemnet.backbone import Backbone
from gemnet.distributed import synchronised
from gemnet.errors import UserError
from gemnet.registry import MODELS
from gemnet.weights import load_weights


@MODELS.register_module()
class FeatureBackbone(Backbone):
    """The outputs of named nodes of a model, cut out with torch.fx; weights keep their names.

    model: `timm/mobilenetv2_140`, `torchvision/mnasnet1_3`. nodes: names of modules, fine to coarse
    (`torchvision.models.feature_extraction.get_graph_node_names` lists them). pretrained: the library's own weights, fetched
    by it; another checkpoint of the same model comes by `init_cfg`. sync_bn: where several processes train, normalise with
    the statistics of all. kwargs go to the model.
    """

    def __init__(
        self,
        model: str,
        nodes: Sequence[str],
        pretrained: bool = False,
        sync_bn: bool = False,
        norm_eval: bool = False,
        init_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(norm_eval, init_cfg)
        full = _create(model, pretrained, kwargs)
        if sync_bn:
            full = synchronised(full)
        # Normalisation stays a module, so that it can be put into evaluation mode and keeps all its statistics.
        tracer = {"leaf_modules": list({type(module) for module in full.modules() if isinstance(module, _BatchNorm)})}
        names = get_graph_node_names(full, tracer)[0]
        unknown = [node for node in nodes if not any(name == node or name.startswith(f"{node}.") for name in names)]
        if unknown or not nodes:
            raise UserError(f"{model}: nodes={list(nodes)}: {unknown} are not in it; expected some of {', '.join(names)}")
        self.nodes = tuple(nodes)
        self.body = create_feature_extractor(full, return_nodes=list(nodes), tracer_kwargs=tracer)
        kept = self.body.state_dict()
        self.unused_weights = tuple(f"{re.escape(key)}$" for key in full.state_dict() if key not in kept)
        with torch.no_grad():
            outputs = copy.deepcopy(self.body).eval().to("meta")(torch.empty(1, 3, 64, 64, device="meta"))
        self.out_channels = tuple(outputs[node].shape[1] for node in nodes)

    def init_weights(self) -> None:
        """Load the pretrained weights, if any, by the names that they have in the library's model."""
        if self.init_cfg is not None:
            load_weights(self.body, self.init_cfg["checkpoint"], self.init_cfg.get("prefix"), self.unused_weights)
        self._is_init = True

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images [B, 3, H, W] -> the outputs of the nodes, [B, out_channels[i], h, w]."""
        outputs = self.body(x)
        return tuple(outputs[node] for node in self.nodes)


def _create(model: str, pretrained: bool, kwargs: dict[str, Any]) -> nn.Module:
    library, _, name = model.partition("/")
    try:
        if library == "timm":
            return timm.create_model(name, pretrained=pretrained, **kwargs)
        if library == "torchvision":
            return torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None, **kwargs)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"model={model!r}: {error}") from error
    raise UserError(f"model={model!r}: expected timm/NAME or torchvision/NAME")
