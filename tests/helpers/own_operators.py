"""Operators as a user writes them, beside the built-in ones; importing this module registers them."""

import torch
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite
from torch import nn

import gemnet


@gemnet.register_operator("made_se3x3")
class SqueezeExciteConv(nn.Module):
    """[1x1 conv to 2x, 3x3 depthwise, squeeze and excitation to 1/2, 1x1 conv], BN and ReLU: its cost is a polynomial."""

    def __init__(self, in_channels, out_channels, norm_layer=nn.BatchNorm2d, act_layer=nn.ReLU, **dd):
        super().__init__()
        hidden = 2 * in_channels
        self.expand = nn.Conv2d(in_channels, hidden, 1, bias=False, **dd)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False, **dd)
        self.squeeze = nn.Linear(hidden, in_channels, bias=False, **dd)
        self.excite = nn.Linear(in_channels, hidden, **dd)
        self.project = nn.Conv2d(hidden, out_channels, 1, bias=False, **dd)
        self.bn = norm_layer(out_channels, **dd)
        self.act = act_layer(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.expand(x))
        weights = torch.sigmoid(self.excite(self.squeeze(x.mean((2, 3)))))
        return self.act(self.bn(self.project(x * weights[:, :, None, None])))


@gemnet.register_operator("made_rounded3x3")
def rounded(in_channels, out_channels, norm_layer=None, act_layer=None, device=None, dtype=None):
    """timm's inverted residual, whose hidden channels are rounded to multiples of 8: its cost is no polynomial."""
    return InvertedResidual(in_channels, out_channels, 3, exp_ratio=2.5, se_layer=SqueezeExcite).to(device, dtype)


def half_cost(in_channels, out_channels, resolution):
    weights, positions = in_channels * out_channels, resolution[0] * resolution[1]
    return gemnet.Cost(weights, weights * positions, out_channels * positions)


@gemnet.register_operator("made_plain1x1", cost=half_cost, affine=True)
def plain(in_channels, out_channels, device=None, dtype=None, **layers):
    """A convolution and nothing else, whose cost is given."""
    return nn.Conv2d(in_channels, out_channels, 1, bias=False, device=device, dtype=dtype)
