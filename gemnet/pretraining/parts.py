"""What MMPretrain trains with: views of images with a teacher's answers, and the loss against them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.models.heads import LinearClsHead
from torch import Tensor, nn
from torch.nn import functional

from gemnet.openmmlab.backbone import Backbone
from gemnet.openmmlab.images import EveryImageTested
from gemnet.openmmlab.registry import DATASETS, MODELS, TRANSFORMS
from gemnet.pretraining.targets import WHOLE, Targets, view_of
from gemnet.pretraining.views import cut


@DATASETS.register_module()
class TeacherViews(EveryImageTested):
    """Views of the images in an MMEngine annotation file, with a teacher's answers to them.

    Args:
        ann_file: Its entries have `img_path` and `image`, the number in the list that the teacher was asked about.
        targets: The folder of the answers.
        images: How many images that list has.
        kept: Classes an answer has.
        views: Numbers of the views; an epoch has all of them.
        features: Pooled features an answer has; 0 for none.
        kwargs: Of mmengine's BaseDataset.
    """

    def __init__(
        self, ann_file: str, targets: str, images: int, kept: int, views: list[int], features: int = 0, **kwargs: Any
    ) -> None:
        self.views = list(views)
        self.targets = {number: Targets(Path(targets), images, kept, features).read(number) for number in self.views}
        super().__init__(ann_file=ann_file, **kwargs)

    def __len__(self) -> int:
        return len(self.views) * super().__len__()

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """A view with its answer: teacher_classes [kept], teacher_scores [kept], and the likeliest class as gt_label.

        Where answers have them, the features as teacher_features [features]. The images lie in memory once for all views.
        """
        turn, place = divmod(idx % len(self), super().__len__())
        info = super().get_data_info(place)
        info["view"] = self.views[turn]
        answer = self.targets[info["view"]][info["image"]]
        info["teacher_classes"] = torch.from_numpy(answer["classes"].astype(np.int64))
        info["teacher_scores"] = torch.from_numpy(answer["scores"].astype(np.float32))
        if "features" in (answer.dtype.names or ()):
            info["teacher_features"] = torch.from_numpy(answer["features"].astype(np.float32))
        info["gt_label"] = int(answer["classes"][0])
        return info


@DATASETS.register_module()
class ListedImages(EveryImageTested):
    """The images in an MMEngine annotation file, with their labels; `CutView` shows the middle of each."""

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """An entry with the number of the view that is the middle of an image."""
        return {**super().get_data_info(idx), "image": idx, "view": WHOLE}


@TRANSFORMS.register_module()
class CutView(BaseTransform):
    """Cuts the view that the teacher has seen out of an image.

    Args:
        scale: Height and width of what the student sees, in pixels.
        seed: Of the views.
    """

    def __init__(self, scale: int, seed: int = 0) -> None:
        self.scale, self.seed = scale, seed

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """`img` [H, W, 3] becomes [scale, scale, 3]."""
        image = results["img"]
        view = view_of(image.shape[:2], self.seed, results["image"], results["view"])
        results["img"] = cut(image, view, self.scale)
        results["img_shape"] = results["img"].shape[:2]
        return results


@MODELS.register_module()
class TimmStudent(Backbone):
    """A model of timm's without its classifier: its pooled features [B, D], as one map.

    Args:
        model: Its name.
        init_cfg: As every backbone's here.
    """

    def __init__(self, model: str, init_cfg: dict[str, Any] | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.body = timm.create_model(model, pretrained=False, num_classes=0)
        with torch.no_grad():
            pooled = copy.deepcopy(self.body).eval().to("meta")(torch.empty(1, 3, 64, 64, device="meta"))
        self.out_channels = (pooled.shape[1],)

    def network(self) -> nn.Module:
        return self.body

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images [B, 3, H, W] -> features [B, D]."""
        return (self.body(images),)


@MODELS.register_module()
class DistillationHead(LinearClsHead):
    """A linear classifier that learns a teacher's probabilities (Hinton et al., 2015, temperature 1).

    The loss is the cross entropy with the teacher's answer: the classes that it keeps have their probability, all others share
    what is left. With features, a projection of what the classifier is given learns those of the teacher, too (Miles and
    Mikolajczyk, AAAI 2024: one linear layer). MMPretrain's settings of a linear head are taken as well.

    Args:
        features: How many pooled features of the teacher are learned; 0 for none.
        feature_weight: Of their loss, beside 1 of the answers'.
    """

    def __init__(self, *args: Any, features: int = 0, feature_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.feature_weight = feature_weight
        self.projection = nn.Linear(self.in_channels, features, bias=False) if features else None

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[Any], **kwargs: Any) -> dict[str, Tensor]:
        """The loss of a batch; with features two, whose sum is what is learned."""
        losses = super().loss(feats, data_samples, **kwargs)
        if self.projection is None:
            return losses
        wanted = torch.stack([sample.teacher_features for sample in data_samples])
        found = feature_loss(self.projection(self.pre_logits(feats)), wanted)
        return {"loss_answers": losses["loss"], "loss_features": self.feature_weight * found}

    def _get_loss(self, cls_score: Tensor, data_samples: list[Any], **kwargs: Any) -> dict[str, Tensor]:
        classes = torch.stack([sample.teacher_classes for sample in data_samples])
        scores = torch.stack([sample.teacher_scores for sample in data_samples])
        return {"loss": answer_loss(cls_score, classes, scores)}


def answer_loss(logits: Tensor, classes: Tensor, scores: Tensor) -> Tensor:
    """The mean cross entropy of logits [N, C] with answers: classes [N, K], int64, and their probabilities [N, K]."""
    log = logits.float().log_softmax(1)
    kept = log.gather(1, classes)
    found = (scores * kept).sum(1)
    others = log.shape[1] - classes.shape[1]
    if others:
        left = (1 - scores.sum(1)).clamp(min=0) / others
        found = found + left * (log.sum(1) - kept.sum(1))
    return -found.mean()


def feature_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """1 - the mean cosine of features [N, D] with the wanted ones [N, D], both first standardised over the batch."""
    own, others = (functional.batch_norm(features.float(), None, None, training=True) for features in (found, wanted))
    return 1 - functional.cosine_similarity(own, others).mean()
