"""What timm's train.py does with a model, with timm's own parts: train by name, average, save, resume, and use elsewhere."""

import argparse
import random
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from mmengine.registry import MODELS
from PIL import Image
from timm.data import Mixup, create_dataset, create_loader, resolve_data_config
from timm.loss import SoftTargetCrossEntropy
from timm.models import load_checkpoint, resume_checkpoint
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import CheckpointSaver, ModelEmaV3, random_seed

import gemnet
from gemnet.deploy.export import create
from gemnet.weights import convert, load_classifier, read_state_dict

EPOCHS = 4
SIZE = (3, 33, 33)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Bright and dark noise as `train/<class>/*.png` and `validation/<class>/*.png`."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4)):
        for name, light in (("bright", 150), ("dark", 0)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 100, (40, 36, 3), dtype=np.uint8) + np.uint8(light)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Name and settings of a small network, with its cell in a file."""
    path = tmp_path_factory.mktemp("cell") / "mine.json"
    gemnet.Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (0, 2), (1, 2))).save(path)
    return {"model_name": "gemnet", "cell": str(path), "target_macs": 40e6, "target_params": 1.2e6, "num_classes": 2}


def loader(photos, split, model):
    data = resolve_data_config({"input_size": SIZE, "crop_pct": 1.0}, model=model)
    return create_loader(
        create_dataset("", str(photos), split=split), SIZE, 4, is_training=split == "train", use_prefetcher=False,
        num_workers=0, hflip=0.5, auto_augment="rand-m9-mstd0.5", mean=data["mean"], std=data["std"],
        interpolation="bicubic", crop_pct=data["crop_pct"], persistent_workers=False,
    )  # fmt: skip


def train(photos, network, folder, stop=EPOCHS, resume=None):
    """Epochs of train.py up to `stop`, with Mixup, averaged weights and a cosine schedule; returns model, average, losses."""
    random_seed(0)
    model = timm.create_model(**network)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.005, momentum=0.9, weight_decay=5e-5)
    start = resume_checkpoint(model, resume, optimizer) if resume else 0
    average = ModelEmaV3(model, decay=0.8)
    if resume:
        load_checkpoint(average.module, resume, use_ema=True)
    batches = loader(photos, "train", model)
    scheduler, _ = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=EPOCHS, warmup_epochs=1, warmup_lr=1e-3, updates_per_epoch=len(batches)
    )
    scheduler.step(start)
    folder.mkdir(exist_ok=True)
    args = argparse.Namespace(model=network["model_name"], model_kwargs={"cell": network["cell"]}, lr=0.005, epochs=EPOCHS)
    saver = CheckpointSaver(model, optimizer, args=args, model_ema=average, checkpoint_dir=str(folder), max_history=EPOCHS)
    mixup, criterion, losses = Mixup(mixup_alpha=0.2, num_classes=2), SoftTargetCrossEntropy(), []
    for epoch in range(start, stop):
        random_seed(epoch)
        random.seed(epoch)
        for images, labels in batches:
            images, labels = mixup(images, labels)
            loss = criterion(model.train()(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(model)
            losses.append(loss.item())
        scheduler.step(epoch + 1)
        saver.save_checkpoint(epoch, metric=accuracy(photos, average.module))
    return SimpleNamespace(model=model, average=average.module, losses=losses)


def accuracy(photos, model):
    with torch.no_grad():
        right = [model.eval()(images).argmax(1) == labels for images, labels in loader(photos, "validation", model)]
    return torch.cat(right).double().mean().item()


@pytest.fixture(scope="module")
def trained(photos, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("output") / "run"
    return SimpleNamespace(folder=folder, **vars(train(photos, network, folder)))


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns_and_its_checkpoints_are_named_as_timms(trained):
    assert all(np.isfinite(trained.losses))
    assert np.mean(trained.losses[-4:]) < np.mean(trained.losses[:4])
    assert {"last.pth.tar", "model_best.pth.tar", "checkpoint-0.pth.tar"} <= {file.name for file in trained.folder.iterdir()}


def test_a_resumed_training_ends_in_the_weights_of_one_left_alone(trained, photos, network, tmp_path):
    train(photos, network, tmp_path / "first", stop=2)
    resumed = train(photos, network, tmp_path / "second", resume=str(tmp_path / "first/last.pth.tar"))
    assert len(resumed.losses) == len(trained.losses) // 2
    assert equal(resumed.model.state_dict(), trained.model.state_dict())
    assert equal(resumed.average.state_dict(), trained.average.state_dict())


def test_its_checkpoint_is_read_safely_as_timm_reads_it_the_averaged_weights_first(trained, network):
    last = str(trained.folder / "last.pth.tar")  # holds an argparse.Namespace and the optimizer's state too
    found = read_state_dict(last)
    assert equal(found, trained.average.state_dict())
    assert not equal(found, trained.model.state_dict())
    assert equal(found, timm.create_model(**network, checkpoint_path=last).state_dict())
    model = timm.create_model(**network)
    load_classifier(model, last)
    assert equal(found, model.state_dict())


def test_its_checkpoint_goes_to_mmpretrain_and_back_and_into_an_export(trained, network, tmp_path):
    best = trained.folder / "model_best.pth.tar"
    convert(best, tmp_path / "classifier.pth", "mmpretrain")
    budget = {key: network[key] for key in ("cell", "target_macs", "target_params")}
    classifier = MODELS.build(
        {
            "type": "ImageClassifier", "_scope_": "mmpretrain",
            "backbone": {"type": "gemnet.GEMNet", "out_indices": (5,), **budget},
            "neck": {"type": "GlobalAveragePooling"},
            "head": {"type": "LinearClsHead", "num_classes": 2, "in_channels": trained.model.num_features},
        }
    )  # fmt: skip
    classifier.load_state_dict(read_state_dict(tmp_path / "classifier.pth"))
    model, x = timm.create_model(**network, checkpoint_path=str(best)).eval(), torch.randn(2, *SIZE)
    with torch.no_grad():
        assert torch.equal(classifier.eval()(x, mode="tensor"), model(x))
        assert torch.equal(create("gemnet", str(best), 2, **budget).eval()(x), model(x))
    convert(tmp_path / "classifier.pth", tmp_path / "back.safetensors", "timm")
    assert equal(read_state_dict(tmp_path / "back.safetensors"), model.state_dict())


def test_a_fine_tuning_starts_from_its_checkpoint_with_other_classes(trained, network):
    """As `train.py --pretrained --pretrained-path FILE --num-classes 5`."""
    overlay = {"file": str(trained.folder / "last.pth.tar"), "num_classes": -1}
    model = timm.create_model(**{**network, "num_classes": 5}, pretrained=True, pretrained_cfg_overlay=overlay)
    assert model.classifier.weight.shape[0] == 5
    assert torch.equal(model.stem.conv.weight, trained.average.stem.conv.weight)
