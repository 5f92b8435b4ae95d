"""RTMDet's neck behind a wide backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmdet.models.necks import CSPNeXtPAFPN
from torch import Tensor, nn

from gemnet.openmmlab.registry import MODELS


@MODELS.register_module()
class NarrowedPAFPN(CSPNeXtPAFPN):
    """mmdet's CSPNeXtPAFPN on features that 1x1 convolutions have made `out_channels` wide first.

    mmdet's own is as wide as what it reads. Behind GEMNet's last stages, 272 to 1104 channels, it would cost several times what
    the backbone does.

    Args:
        in_channels: Of the backbone's feature maps, fine to coarse.
        out_channels: Of every layer of the neck.
        kwargs: As CSPNeXtPAFPN's: num_csp_blocks, use_depthwise, norm_cfg, act_cfg, ...
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, **kwargs: Any) -> None:
        super().__init__([out_channels] * len(in_channels), out_channels, **kwargs)
        layers = {key: kwargs[key] for key in ("conv_cfg", "norm_cfg", "act_cfg") if key in kwargs}
        self.in_channels = list(in_channels)
        self.narrow = nn.ModuleList(ConvModule(channels, out_channels, 1, **layers) for channels in in_channels)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps [B, in_channels[i], h, w] -> as many maps [B, out_channels, h, w]."""
        return super().forward([narrow(one) for narrow, one in zip(self.narrow, inputs, strict=True)])
