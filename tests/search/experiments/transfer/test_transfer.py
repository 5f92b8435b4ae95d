"""What weights are worth: the record, what is measured, and the tables."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from made_folders import write_colours
from safetensors.torch import save_file
from sklearn.neighbors import KNeighborsClassifier

from gemnet.cli.calling import Call
from gemnet.core.errors import UserError
from gemnet.core.tables import between
from gemnet.model_table import shipped_weights
from gemnet.weights import WeightsError
from search.cli import weights as command
from search.core.display import Display
from search.core.types import SearchError
from search.experiments.transfer import learning, report, run, tasks

QUIET, ROOT = Display(quiet=True), Path(__file__).parents[4]
RATES = {"test_resnet": 0.001}


def row(model="gemnet_a", start="scratch", way="tuned", epochs=1, accuracy=0.5, seed=0, **changes):
    return {
        "data": "photos", "image_size": 32, "model": model, "start": start, "way": way, "epochs": epochs, "labels": 1.0,
        "seed": seed, "learning_rate": 0.001 if epochs else 0.0, "precision": "float32", "accuracy": accuracy,
        "train_images": 24, "test_images": 12, "seconds": 1.0, "cpu_seconds": 1.0, "machine": "made", **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes that differ in their colour."""
    return write_colours(tmp_path_factory.mktemp("data") / "photos", {"train": 12, "val": 6}, 32)


@pytest.fixture(scope="module")
def comparison(photos):
    return run.Comparison(photos, 32)


def start(model="test_resnet", weights=None):
    return tasks.Start(model, weights)


def test_every_way_learns_two_colours_and_the_same_seed_gives_the_same_accuracy(comparison):
    for way, epochs, rate in (("nearest", 0, 0.0), ("linear", 0, 0.0), ("tuned", 40, 0.001)):
        task = tasks.Task(start(), way, epochs, 1.0, 0, rate)
        first, again = comparison.measure(task), comparison.measure(task)
        assert first["accuracy"] == again["accuracy"] >= 0.9, way
        assert (first["train_images"], first["test_images"]) == (24, 12)


def test_nearest_neighbours_vote_as_scikit_learn_has_them():
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(60, 8, generator=generator), torch.randn(30, 8, generator=generator)
    labels = torch.randint(0, 3, (60,), generator=generator)

    def weight(distances):
        return np.exp((1 - distances) / learning.SHARPNESS)

    oracle = KNeighborsClassifier(learning.NEIGHBOURS, weights=weight, metric="cosine").fit(train.numpy(), labels.numpy())
    assert learning.nearest(train, labels, test, 3).tolist() == oracle.predict(test.numpy()).tolist()


def test_a_part_of_the_labels_has_that_share_of_each_class_and_follows_from_the_seed(comparison):
    part = comparison.train.part(0.25, 1)
    assert part.labels.bincount().tolist() == [3, 3]
    assert torch.equal(part.pixels, comparison.train.pixels[part.rows])
    assert torch.equal(part.rows, comparison.train.part(0.25, 1).rows)
    assert not torch.equal(part.rows, comparison.train.part(0.25, 2).rows)
    assert comparison.train.part(1.0, 1) is comparison.train


def test_the_features_of_a_part_are_those_of_its_images(comparison):
    task = tasks.Task(start(), "nearest", 0, 0.25, 3)
    measured = comparison.measure(task)
    part, network = comparison.train.part(0.25, 3), task.start.build(2, 3)
    found, tested = learning.features(network, part.pixels), learning.features(network, comparison.test.pixels)
    answers = learning.nearest(found, part.labels, tested, 2)
    assert measured["accuracy"] == round(float((answers == comparison.test.labels).double().mean()), 5)


def test_weights_go_into_all_but_the_classifier(tmp_path):
    model = timm.create_model("test_resnet", num_classes=7)
    file = tmp_path / "weights.safetensors"
    save_file({key: value.clone() for key, value in model.state_dict().items()}, file)
    begun = tasks.parse_start(f"test_resnet@{file}")
    built = begun.build(2, 0)
    assert built.fc.weight.shape[0] == 2
    own, given = built.state_dict(), model.state_dict()
    assert all(torch.equal(own[key], given[key]) for key in own if not key.startswith("fc."))
    assert begun.name != "scratch"
    with pytest.raises(WeightsError, match=f"{file}: .* weights of gemnet_a do not fit"):
        tasks.Start("gemnet_a", file).build(2, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no_such_model", "timm has no model 'no_such_model'"),
        ("mobilenetv1_100", "no weights ship for mobilenetv1_100; expected mobilenetv1_100@scratch"),
        ("gemnet_a@nowhere.pth", "nowhere.pth: no such file"),
        ("torchvision/mnasnet1_3", "are compared from scratch; expected torchvision/mnasnet1_3@scratch"),
        ("torchvision/no_such@scratch", "timm has no model 'torchvision/no_such'"),
    ],
)
def test_a_start_that_is_none_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        tasks.parse_start(given)


def test_what_is_recorded_is_not_measured_again(comparison, tmp_path, monkeypatch):
    planned = tasks.tasks([start()], ["nearest", "linear"], [1], [1.0], [0, 1], {}, "float32")
    path = tmp_path / "record.jsonl"
    with run.open_record(path, tmp_path / "work") as record:
        comparison.run(planned[:3], record, QUIET)
        with pytest.raises(SearchError, match="is in use by"), run.open_record(path, tmp_path / "work"):
            pass
    before = path.read_text()
    assert len(before.splitlines()) == 3
    monkeypatch.setattr(
        comparison, "measure", lambda task, display, place: row("test_resnet", way=task.way, epochs=0, seed=task.seed)
    )
    with run.open_record(path, tmp_path / "work") as record:
        comparison.run(planned, record, QUIET)
    assert path.read_text().startswith(before)
    assert len(path.read_text().splitlines()) == 4


def test_the_first_seed_comes_first_and_the_cheap_trainings_before_the_dear_ones():
    planned = tasks.tasks([start()], ["tuned"], [1, 5, 20], [1.0, 0.1], [0, 1], RATES, "float32")
    assert [(task.epochs, task.labels) for task in planned[:6]] == [
        (1, 0.1),
        (5, 0.1),
        (1, 1.0),
        (20, 0.1),
        (5, 1.0),
        (20, 1.0),
    ]
    assert [task.seed for task in planned] == [0] * 6 + [1] * 6


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_that_was_stopped_goes_on_from_its_last_epoch_to_the_same_accuracy(
    precision, comparison, tmp_path, monkeypatch
):
    task = tasks.Task(start(), "tuned", 4, 1.0, 0, 0.001, precision)
    alone = comparison.measure(task)

    rates = iter(range(1000))

    def interrupted(done, warmup):
        if next(rates) == 2:
            raise KeyboardInterrupt
        return real_rate(done, warmup)

    real_rate = learning._rate
    monkeypatch.setattr(learning, "_rate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        comparison.measure(task, place=tmp_path)
    (file,) = tmp_path.glob("photos_32_*.pth")
    assert torch.load(file, weights_only=True)["epoch"] >= 1
    monkeypatch.undo()
    again = comparison.measure(task, place=tmp_path)
    assert again["accuracy"] == alone["accuracy"]
    assert not list(tmp_path.glob("*.pth"))


def test_a_rate_is_chosen_on_a_tenth_of_the_training_images_and_the_test_images_are_not_looked_at(comparison, monkeypatch):
    planned = tasks.tried(["test_resnet", "test_resnet"], [0.0001, 0.001], 20, "float32")
    assert [(task.learning_rate, task.start.weights, task.way) for task in planned] == [
        (0.0001, None, "tried"),
        (0.001, None, "tried"),
    ]
    monkeypatch.setitem(vars(comparison), "test", None)
    rows = {comparison.key(task): comparison.measure(task) for task in planned}
    assert [(row["train_images"], row["test_images"]) for row in rows.values()] == [(22, 2), (22, 2)]
    for one, other in ((0.4, 0.6), (0.6, 0.4)):
        found = {key: {**row, "accuracy": value} for (key, row), value in zip(rows.items(), (one, other))}
        assert comparison.best_rates(planned, found) == {"test_resnet": 0.0001 if one > other else 0.001}


def test_a_part_and_what_is_left_are_the_whole(comparison):
    part = comparison.train.part(0.25, 1)
    left = comparison.train.without(part)
    assert sorted([*part.rows.tolist(), *left.rows.tolist()]) == list(range(24))
    assert torch.equal(left.pixels, comparison.train.pixels[left.rows])


def test_frozen_features_of_torchvisions_networks_are_refused():
    begun = tasks.parse_start("torchvision/mnasnet1_0@scratch")
    with pytest.raises(UserError, match="torchvision/mnasnet1_0: linear needs a model of timm's; expected --ways tuned"):
        tasks.tasks([begun], ["linear", "tuned"], [1], [1.0], [0], {begun.model: 0.001}, "float32")


def test_torchvisions_networks_train_as_the_others_do():
    network = tasks.parse_start("torchvision/mnasnet1_0@scratch").build(3, 0)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert {module.momentum for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {0.1}
    assert {module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}


@pytest.mark.slow  # starts processes
def test_two_processes_measure_what_one_does(photos, comparison, tmp_path, capsys):
    planned = tasks.tasks([start()], ["nearest", "tuned"], [1], [1.0], [0, 1], RATES, "float32")
    with run.open_record(tmp_path / "record.jsonl", tmp_path / "work") as record:
        comparison.run(planned, record, Display(), 2, tmp_path / "work")
        found = {key: row["accuracy"] for key, row in record.rows.items()}
    assert found == {comparison.key(task): comparison.measure(task)["accuracy"] for task in planned}
    assert "all is measured" in capsys.readouterr().out


def test_the_time_that_remains_follows_from_what_is_recorded(comparison):
    planned = [tasks.Task(start(), "tuned", epochs, 1.0, 0, 0.001) for epochs in (1, 5)]
    assert comparison.counts == (24, 12)
    assert comparison.remaining(planned, []) == "the CPU time that remains is told when one has ended"
    assert comparison.remaining([], []) == "all is measured"
    passed = row(model="test_resnet", way="nearest", epochs=0, cpu_seconds=12 * 3600.0)  # of 36 images, as 12 trained ones
    assert comparison.remaining(planned, [passed]) == "about 152.0 CPU hours remain for 2"  # 6 x 24 + 2 x 12 / 3 images
    trained = row(model="test_resnet", epochs=2, cpu_seconds=52 * 60.0)
    assert comparison.remaining(planned, [trained, passed]) == "about 2.5 CPU hours remain for 2"


def test_the_peer_is_pretrained_as_the_weights_of_ours_tell():
    choice = tasks.Peer("mobilenetv1_100", ("tiny",), Path("work")).choice()
    assert (choice.model, choice.folders, choice.teacher) == ("mobilenetv1_100", ("tiny",), "efficientnet_lite2")
    assert (choice.views, choice.teacher_size, choice.seed, choice.minutes) == (2, 128, 0, 62.0)
    assert choice.features is False


@pytest.mark.slow  # trains for seconds
def test_the_command_pretrains_the_peer_once_and_measures_it_beside_the_others(photos, tmp_path, monkeypatch):
    import gemnet.pretraining.run as pretraining
    from gemnet.pretraining.settings import Choice

    teacher = tmp_path / "teacher.pth"
    torch.save(timm.create_model("mobilenetv3_small_050", num_classes=40).state_dict(), teacher)
    options = {
        "epochs": 1,
        "image_size": 32,
        "batch_size": 8,
        "train_dataloader.num_workers": 0,
        "val_dataloader.num_workers": 0,
    }
    choice = Choice([str(photos)], f"mobilenetv3_small_050@{teacher}", "test_resnet", options=options, teacher_size=32)
    monkeypatch.setattr(tasks.Peer, "choice", lambda peer: choice)
    record = tmp_path / "record.jsonl"
    arguments = [str(photos), "--models", "test_efficientnet@scratch", "--peer", "test_resnet", "--images", str(photos)]
    arguments += [
        "--ways",
        "nearest",
        "--seeds",
        "0",
        "--image-size",
        "32",
        "--record",
        str(record),
        "--work-dir",
        str(tmp_path),
    ]
    assert command.main(Call(arguments, "tools", "compare_weights.py", tmp_path)) == 0
    found = [(row["model"], row["start"] == "scratch") for row in map(json.loads, record.read_text().splitlines())]
    assert found == [("test_efficientnet", True), ("test_resnet", True), ("test_resnet", False)]
    monkeypatch.setattr(pretraining, "train_to_log", None)  # it is done
    assert command.main(Call(arguments, "tools", "compare_weights.py", tmp_path)) == 0


def test_a_peer_without_images_is_refused(photos, tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main(Call([str(photos), "--peer", "test_resnet"], "tools", "compare_weights.py", tmp_path))
    assert "--peer needs --images" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"accuracy": 1.5}, {"accuracy": True}, {"seed": "0"}, {"model": None}])
def test_a_line_that_is_no_measurement_is_refused_by_its_number(tmp_path, change):
    path = tmp_path / "record.jsonl"
    path.write_text(json.dumps(row()) + "\n" + json.dumps(row(epochs=5, **change)) + "\n")
    with pytest.raises(SearchError, match="line 2: not a measurement"), run.open_record(path):
        pass


def test_the_table_has_spreads_and_a_row_a_start():
    rows = [row(accuracy=0.5), row(accuracy=0.6, seed=1), row(start="abc", way="nearest", epochs=0, accuracy=0.75)]
    rows.append(row(labels=0.1, accuracy=0.25))
    lines = report.table(rows).splitlines()
    assert "| network | start | learning rate | 1 epoch | seeds |" in lines
    assert "| gemnet_a | scratch | 0.001 | 55.0 ± 7.1 | 0, 1 |" in lines
    assert "| network | start | nearest neighbours | seeds |" in lines
    assert "| gemnet_a | pretrained abc | 75.0 | 0 |" in lines
    assert [line.partition(":")[0] for line in lines if line.startswith("**")] == [
        "**photos** at 32 pixels, 100% of the labels",
        "**photos** at 32 pixels, 100% of the labels, all weights trained in float32",
        "**photos** at 32 pixels, 10% of the labels, all weights trained in float32",
    ]


def test_rows_of_other_rates_and_precisions_are_not_mixed():
    rows = [row(), row(seed=1, learning_rate=0.002), row(precision="bfloat16", accuracy=0.7)]
    rows += [row(way="tried", epochs=5, learning_rate=rate, accuracy=found) for rate, found in ((0.002, 0.4), (0.001, 0.3))]
    lines = report.table(rows).splitlines()
    assert "| gemnet_a | scratch | 0.001 | 50.0 | 0 |" in lines
    assert "| gemnet_a | scratch | 0.002 | 50.0 | 1 |" in lines
    assert "| gemnet_a | scratch | 0.001 | 70.0 | 0 |" in lines
    assert lines[lines.index("| network | 0.001 | 0.002 |") + 2] == "| gemnet_a | 30.0 | 40.0 |"


def test_the_page_has_the_tables_of_the_record_and_the_weights_are_those_that_ship():
    page = (ROOT / report.PAGE).read_text(encoding="utf-8")
    rows = list(run.open_record(ROOT / report.RECORD).rows.values())
    assert between(report.MARKS, page, report.table(rows), report.PAGE) == page
    measured = {(row["model"], row["start"]) for row in rows if row["start"] != tasks.SCRATCH}
    assert {(name, tasks.parse_start(name).name) for name in shipped_weights()} == measured


def test_the_command_measures_records_and_renews_the_page(photos, tmp_path, capsys):
    for name in ("tools", "configs", "docs/results"):
        (tmp_path / name).mkdir(parents=True)
    page = tmp_path / report.PAGE
    page.write_text("\n".join(report.MARKS) + "\n")
    record = str(tmp_path / "record.jsonl")
    arguments = [str(photos), "--models", "test_resnet@scratch", "--ways", "nearest", "--seeds", "0"]
    arguments += ["--image-size", "32", "--record", record, "--work-dir", str(tmp_path / "work")]
    assert command.main(Call(arguments, "tools", "compare_weights.py", tmp_path)) == 0
    assert command.main(Call(["table", "--record", record, "--write"], "tools", "compare_weights.py", tmp_path)) == 0
    found = report.table([json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()])
    assert between(report.MARKS, page.read_text(), found, "page") == page.read_text()
    assert found in capsys.readouterr().out


def test_folders_that_do_not_fit_are_refused(photos, tmp_path):
    (tmp_path / "val").symlink_to(photos / "train")
    with pytest.raises(SearchError, match="train"):
        run.Comparison(tmp_path, 32)
    for name in ("green", "red"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.png").write_bytes((photos / "train/red/0.png").read_bytes())
    with pytest.raises(SearchError, match=r"train has the classes .*green.* expected the same"):
        run.Comparison(tmp_path, 32)
