"""The command `gemnet`: its commands are the tools, told as they are entered, and there before anything heavy is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm

from gemnet import __version__, gemnet_a
from gemnet.cli.calling import Call
from gemnet.cli.commands import COMMANDS
from gemnet.cli.main import main, usage
from gemnet.complexity import network_cost
from gemnet.core.configs import packaged

HEAVY = {"search", "torch", "timm", "mmengine", "numpy"}


def told_by(*arguments):
    """What the help of `gemnet` prints, and what of HEAVY it imports."""
    code = (
        f"import sys; from gemnet.cli.main import main\ntry: main({arguments!r})\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    text, _, modules = out.rstrip("\n").rpartition("\n")
    return text, HEAVY & set(modules.split())


def test_the_help_lists_every_command_and_imports_none():
    text, imported = told_by("--help")
    assert text == usage()
    assert imported == set()
    listed = text.partition("commands:")[2]
    assert all(f"  {name} " in listed and command.about in listed for name, command in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_as_they_are_entered_anywhere(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert text.startswith(f"usage: gemnet {name} ")
    examples = [line for line in text.partition("examples:")[2].partition("\n\n")[0].splitlines() if line.strip()]
    assert any(line.startswith(f"  gemnet {name}") for line in examples)
    assert "tools/" not in "".join(examples)
    for word in " ".join(examples).split():
        if word.startswith("gemnet::"):
            packaged(word)


def test_of_a_commands_help_only_the_package_of_its_module_is_imported():
    assert [told_by(name, "--help")[1] for name in ("train", "search")] == [set(), {"search"}]


def test_a_command_that_there_is_not_is_told_with_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.endswith("gemnet: no command 'trian'; did you mean train?\n")
    assert main([]) == 2
    assert capsys.readouterr().err.endswith("gemnet: expected a command\n")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gemnet {__version__}\n"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("gemnet", ["gemnet train gemnet::a.py", "see gemnet convert-benchmark", "torchrun -m gemnet train C"]),
        ("python -m gemnet", ["python -m gemnet train gemnet::a.py", "see python -m gemnet convert-benchmark",
                              "torchrun -m gemnet train C"]),
        ("tools", ["python tools/train.py configs/a.py", "tools/dist_train.sh x", "see python tools/convert_benchmark.py",
                   "torchrun -m gemnet train C"]),
    ],
)  # fmt: skip
def test_a_text_has_commands_as_they_are_entered(program, told):
    lines = ["gemnet train configs/a.py", "tools/dist_train.sh x", "see gemnet convert-benchmark", "torchrun -m gemnet train C"]
    text = "\n".join(f"  {line}" for line in lines)
    assert Call((), program, "", Path()).told(text) == "\n".join(f"  {line}" for line in told)


def test_what_renews_a_checkout_is_refused_elsewhere_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["complexity", "--table2"]) == 1
    assert main(["reproduce", "fig1", "--write"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["complexity", "reproduce"]
    assert all("not a checkout of gemnet" in line for line in lines)


def test_fit_tells_what_create_model_builds(tmp_path, capsys):
    assert main(["fit", "gemnet_b", "--target-macs", "1e8", "--target-params", "3e6", "--out", str(tmp_path / "n.json")]) == 0
    summary, line = capsys.readouterr().out.splitlines()
    names = {}
    exec(line.partition(": ")[2], names)
    model, told = names["model"], json.loads((tmp_path / "n.json").read_text())
    assert told["params"] == sum(p.numel() for p in model.parameters())
    assert told["macs"] == network_cost(model.architecture).macs <= 1e8
    assert (tuple(told["widths"]), told["head_width"]) == (model.architecture.widths, model.architecture.head_width)
    assert f"{told['params'] / 1e6:.3f} M params" in summary
    again = timm.create_model("gemnet", **{**told["create_model"], "cell": told["cell"]})
    assert again.architecture == model.architecture


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "fit: "),
        (["gemnet_a", "--target-macs", "1e3"], "out of reach for this cell: it reaches"),
        (["gemnet_a", "--out", "/nowhere/at/all.json"], "/nowhere/at/all.json"),
    ],
)
def test_fit_tells_a_mistake_in_one_line(arguments, message, capsys):
    assert main(["fit", *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_shipped_cell_at_its_own_budget_is_the_shipped_model(capsys):
    cost = network_cost(gemnet_a().architecture)
    assert main(["fit", "gemnet_a", "--target-macs", str(cost.macs), "--target-params", str(cost.params)]) == 0
    assert str(gemnet_a().architecture.depths) in capsys.readouterr().out
