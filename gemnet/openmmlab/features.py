"""Any timm or torchvision model as a backbone for MMDetection and MMPretrain: `type='gemnet.FeatureBackbone'`."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from gemnet.core.errors import UserError
from gemnet.library import create_library_model, set_bn_momentum
from gemnet.openmmlab.backbone import Backbone, flag, positive
from gemnet.openmmlab.distributed import synchronised
from gemnet.openmmlab.registry import MODELS


@MODELS.register_module()
class FeatureBackbone(Backbone):
    """The outputs of named nodes of a model, cut out with torch.fx; weights keep their names.

    model: `timm/mobilenetv2_140`, `torchvision/mnasnet1_3`. nodes: names of modules, fine to coarse
    (`torchvision.models.feature_extraction.get_graph_node_names` lists them), or one. pretrained: the library's own weights,
    fetched by it; another checkpoint of the same model comes by `init_cfg`. sync_bn: where several processes train, normalise
    with the statistics of all. bn_momentum: of all normalisation, where it is not the model's own: see
    `gemnet.library.set_bn_momentum`. kwargs go to the model.
    """

    def __init__(
        self,
        model: str,
        nodes: Sequence[str],
        pretrained: bool = False,
        sync_bn: bool = False,
        bn_momentum: float | None = None,
        norm_eval: bool = False,
        init_cfg: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(norm_eval, init_cfg)
        nodes = [nodes] if isinstance(nodes, str) else list(nodes)
        if not all(isinstance(node, str) for node in nodes):
            raise UserError(f"{model}: nodes={nodes}: expected names of modules")
        try:
            full = create_library_model(model, flag("pretrained", pretrained), **kwargs)
        except TypeError as error:  # an argument that the model does not have
            raise UserError(f"{model}: {error}") from error
        if bn_momentum is not None:
            set_bn_momentum(full, positive("bn_momentum", bn_momentum))
        if flag("sync_bn", sync_bn):
            full = synchronised(full)
        # Normalisation stays a module, so that it can be put into evaluation mode and keeps all its statistics.
        tracer = {"leaf_modules": list({type(module) for module in full.modules() if isinstance(module, _BatchNorm)})}
        names = get_graph_node_names(full, tracer)[0]
        unknown = [node for node in nodes if not any(name == node or name.startswith(f"{node}.") for name in names)]
        if unknown or not nodes:
            raise UserError(f"{model}: nodes={nodes}: {unknown} are not in it; expected some of {', '.join(names)}")
        self.nodes = tuple(nodes)
        self.body = create_feature_extractor(full, return_nodes=nodes, tracer_kwargs=tracer)
        kept = self.body.state_dict()
        self.unused_weights = tuple(f"{re.escape(key)}$" for key in full.state_dict() if key not in kept)
        with torch.no_grad():
            image = torch.empty(1, kwargs.get("in_chans", 3), 64, 64, device="meta")
            outputs = copy.deepcopy(self.body).eval().to("meta")(image)
        self.out_channels = tuple(outputs[node].shape[1] for node in nodes)

    def network(self) -> nn.Module:
        return self.body

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images [B, 3, H, W] -> the outputs of the nodes, [B, out_channels[i], h, w]."""
        outputs = self.body(x)
        return tuple(outputs[node] for node in self.nodes)
