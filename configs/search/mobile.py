"""A search among the blocks of today's mobile networks, on scikit-learn's digits: offline, in minutes on any CPU.

A node is a block of MobileNetV1 (dsconv), of MobileNetV2 and MnasNet (mbconv), or of MobileNetV4 (mbconv, extradw, convnext,
ffn), one of the paper's operators, squeeze-and-excitation, pooling, or nothing. The search starts from cells that are one such
block, and from random ones. mobile_cifar10.py searches on CIFAR-10.
"""

_base_ = ["digits.py"]

space = dict(
    num_nodes=8,
    density=[0.1, 0.4],
    operators=[
        *["conv1x1", "sepconv3x3", "sepconv5x5", "sepconv7x7", "dsconv3x3"],
        *["mbconv3x3_e1", "mbconv3x3_e3", "mbconv3x3_e6", "mbconv5x5_e3", "mbconv5x5_e6"],
        *["mbconv3x3_e6_se", "mbconv5x5_e3_se"],
        *["extradw3x3_3x3_e4", "extradw3x3_5x5_e4", "extradw5x5_5x5_e4", "convnext3x3_e4", "ffn_e4"],
        *["identity", "squeeze_excite", "pool_max3x3", "pool_avg3x3"],
    ],
)
encoder = dict(_delete_=True, type="statistics")
predictor = dict(_delete_=True, type="ensemble")
search = dict(
    cells=[
        *["gemnet_a", "dsconv3x3", "mbconv3x3_e6", "mbconv5x5_e3", "mbconv5x5_e3_se"],
        *["extradw3x3_5x5_e4", "convnext3x3_e4"],
    ]
)
