"""nms_match, box overlaps, the softmax focal loss and synchronised normalisation through mmcv.ops on the stand-in."""

import pytest
import torch
import torchvision
from mmcv_ops_cases import KINDS, THRESHOLDS, draw_boxes, draw_scores


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_overlaps_are_those_of_mmcvs_formula(use, kind, mode):
    import mmcv.ops
    from mmcv.ops.bbox import _bbox_overlaps_cpu  # mmcv's own, for a framework that has no such operator

    one, two = draw_boxes(kind, 9, 0), draw_boxes(kind, 7, 1)
    for offset in (0, 1):
        found = mmcv.ops.bbox_overlaps(one, two, mode, False, offset)
        expected = _bbox_overlaps_cpu(one, two, mode, False, offset)
        defined = torch.isfinite(expected) & (expected >= 0) & (expected <= 1)
        torch.testing.assert_close(found[defined], expected[defined])
        assert torch.isfinite(found).all()
        pairs = mmcv.ops.bbox_overlaps(one[:7], two, mode, True, offset)
        torch.testing.assert_close(pairs, found[:7].diagonal())


def test_overlaps_are_torchvisions(use):
    import mmcv.ops

    one, two = draw_boxes("spread", 30, 0), draw_boxes("spread", 20, 1)
    torch.testing.assert_close(mmcv.ops.bbox_overlaps(one, two), torchvision.ops.box_iou(one, two))


@pytest.mark.parametrize("threshold", THRESHOLDS[1:])
def test_nms_match_groups_each_box_with_the_first_kept_one_that_drops_it(use, threshold):
    import mmcv.ops

    boxes, scores = draw_boxes("spread", 60, 0), draw_scores(60, 1)
    overlaps = torchvision.ops.box_iou(boxes, boxes)
    expected, left = [], scores.argsort(descending=True).tolist()
    while left:
        best, *rest = left
        dropped = [other for other in rest if overlaps[best, other] >= threshold]
        expected.append([best, *dropped])
        left = [other for other in rest if other not in dropped]
    found = mmcv.ops.nms_match(torch.cat([boxes, scores[:, None]], 1), threshold)
    assert [group.tolist() for group in found] == expected
    assert sorted(index for group in expected for index in group) == list(range(60))


def test_nms_match_is_the_compiled_one(compiled, use):
    import mmcv.ops

    dets = torch.cat([draw_boxes("grid", 80, 0), draw_scores(80, 1)[:, None]], 1)
    ours = [group.tolist() for group in mmcv.ops.nms_match(dets, 0.3)]
    use(compiled)
    assert ours == [group.tolist() for group in mmcv.ops.nms_match(dets, 0.3)]


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_softmax_focal_loss_is_its_formula_and_has_its_gradient(use, gamma, weighted):
    import mmcv.ops

    logits = (2 * torch.randn(12, 5, dtype=torch.float64)).requires_grad_()
    target, weight = torch.randint(0, 5, (12,)), torch.rand(5, dtype=torch.float64) if weighted else None
    loss = mmcv.ops.softmax_focal_loss(logits, target, gamma, 0.25, weight, "sum")
    log = logits.log_softmax(1).gather(1, target[:, None])[:, 0]
    expected = -0.25 * (1 - log.exp()) ** gamma * log * (weight[target] if weighted else 1)
    torch.testing.assert_close(loss, expected.sum())
    found, right = (torch.autograd.grad(value.sum(), logits)[0] for value in (loss, expected))
    torch.testing.assert_close(found, right)


def test_a_negative_target_costs_nothing_in_the_softmax_focal_loss(use):
    import mmcv.ops

    logits = torch.randn(3, 4, requires_grad=True)
    target = torch.tensor([-1, 2, -100])
    each = mmcv.ops.softmax_focal_loss(logits, target, 2.0, 0.25, None, "none")
    (grad,) = torch.autograd.grad(mmcv.ops.softmax_focal_loss(logits, target, 2.0, 0.25, None, "sum"), logits)
    assert (each == 0).tolist() == [True, False, True]
    assert (grad != 0).any(1).tolist() == [False, True, False]


@pytest.fixture
def group(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_synchronised_normalisation_of_one_process_is_torchs(use, group):
    import mmcv.ops

    theirs, ours = torch.nn.BatchNorm2d(5), mmcv.ops.SyncBatchNorm(5)
    torch.nn.init.normal_(theirs.weight)
    ours.load_state_dict(theirs.state_dict())
    inputs = [(2 * torch.randn(3, 5, 4, 6) + 1).requires_grad_() for _ in range(2)]
    inputs[1].data.copy_(inputs[0])
    outputs = [norm(x) for norm, x in zip((theirs, ours), inputs)]
    torch.testing.assert_close(*outputs)
    grad = torch.randn(outputs[0].shape)
    for output in outputs:
        output.backward(grad)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-5)
    for (name, one), other in zip(theirs.state_dict(keep_vars=True).items(), ours.state_dict(keep_vars=True).values()):
        torch.testing.assert_close(other, one, msg=name)
        if one.requires_grad:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-5)
