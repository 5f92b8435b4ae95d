"""Detectors of mmdet's configs that need compiled operators of mmcv: built, trained a step and tested without a compiler."""

import numpy as np
import pytest
import torch
from mmcv.ops import CARAFEPack, DeformConv2d, DeformRoIPool, ModulatedDeformConv2d, MultiScaleDeformableAttention
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch.nn import BatchNorm2d

from gemnet.openmmlab.backbone import out_channels

DEFORMABLE = (DeformConv2d, ModulatedDeformConv2d, CARAFEPack, DeformRoIPool, MultiScaleDeformableAttention)
ON_GEMNET = [  # on GEMNet-A, with the operators that the neck or the head needs, one each
    "vfnet/vfnet_r50_fpn_1x_coco",  # deformable convolution
    "dyhead/atss_r50_fpn_dyhead_1x_coco",  # modulated deformable convolution
    "guided_anchoring/ga-retinanet_r50_fpn_1x_coco",  # masked convolution
    "dcnv2/faster-rcnn_r50_fpn_mdpool_1x_coco",  # deformable RoI pooling
    "carafe/faster-rcnn_r50_fpn-carafe_1x_coco",  # CARAFE
    "pisa/retinanet-r50_fpn_pisa_1x_coco",  # nms_match
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco",  # deformable attention
]
ALIKE = [  # with an operator of those above
    "reppoints/reppoints-moment_r50_fpn_1x_coco",
    "tood/tood_r50_fpn_1x_coco",
    "ddod/ddod_r50_fpn_1x_coco",
    "foveabox/fovea_r50_fpn_gn-head-align_4xb4-2x_coco",
    "cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco",
]
ON_ITS_OWN = "centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco"  # the backbone has deformable convolutions
LARGE = "detectors/cascade-rcnn_r50-sac_1x_coco"  # so has this one's
SIZE = 96


def model_of(name, on_gemnet, folder):
    """The model of mmdet's config, with random weights, on GEMNet-A where that is wanted."""
    (folder / "config.py").write_text(f"_base_ = 'mmdet::{name}.py'\n")
    config = Config.fromfile(folder / "config.py").model
    if on_gemnet:
        neck = config.neck[0] if isinstance(config.neck, list) else config.neck
        indices = (1, 2, 3, 5)[-len(neck.in_channels) :]
        config.backbone = {"type": "gemnet.GEMNet", "arch": "a", "out_indices": indices}
        neck.in_channels = out_channels("a", indices)
    else:
        config.backbone.init_cfg = None
    rcnn = (config.get("train_cfg") or {}).get("rcnn", [])
    for stage in rcnn if isinstance(rcnn, list) else [rcnn]:
        stage.sampler.num = 32  # of 512 boxes: each goes through the operators alike
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, BatchNorm2d) and not module.weight.any():
            torch.nn.init.ones_(module.weight)  # a residual branch that starts at 0 has no gradient
    MessageHub.get_current_instance().update_info("epoch", 0)  # as the runner does
    return model


def batch(model, count, training):
    samples = []
    for _ in range(count):
        sample = DetDataSample()
        shape = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), (SIZE, SIZE))
        sample.set_metainfo({**shape, "scale_factor": (1.0, 1.0), "border": [0, SIZE, 0, SIZE], "img_id": 0})
        boxes = torch.tensor([[8.0, 8.0, 60.0, 70.0], [40.0, 30.0, 90.0, 88.0]])
        masks = np.zeros((2, SIZE, SIZE), np.uint8)
        masks[0, 8:70, 8:60] = masks[1, 30:88, 40:90] = 1
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 79]), masks=BitmapMasks(masks, SIZE, SIZE))
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
    images = [torch.randint(0, 256, (3, SIZE, SIZE), generator=torch.Generator().manual_seed(i)) for i in range(count)]
    return model.data_preprocessor({"inputs": images, "data_samples": samples}, training)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "on_gemnet"),
    [
        *((name, True) for name in ON_GEMNET),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in ALIKE),
        (ON_ITS_OWN, False),
        pytest.param(LARGE, False, marks=pytest.mark.slow),
    ],
)
def test_it_is_built_trains_a_step_and_predicts(name, on_gemnet, tmp_path):
    model = model_of(name, on_gemnet, tmp_path)
    losses, _ = model.train().parse_losses(model(**batch(model, 2, True), mode="loss"))
    losses.backward()
    assert torch.isfinite(losses)
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)
    for module in model.modules():
        if isinstance(module, DEFORMABLE) and next(module.parameters(recurse=False), None) is not None:
            assert module.weight.grad is not None
            assert module.weight.grad.any()

    with torch.no_grad():
        found = model.eval()(**batch(model, 1, False), mode="predict")[0].pred_instances
    assert found.bboxes.shape == (len(found.scores), 4)
    assert torch.isfinite(found.bboxes).all()
