"""Shell lines of the documentation: read as a shell reads them, checked without being run, and run short."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from commands import run_tool
from doc_examples import NOT_RUN, ROOT, SLOW, Block

from gemnet.cli import calling
from gemnet.cli.calling import Call
from gemnet.cli.commands import COMMANDS
from gemnet.core.configs import config_path
from gemnet.core.options import named

SCRIPTS = {"dist_train.sh": ("train", 1), "dist_test.sh": ("test", 2), "slurm_train.sh": ("train", 3)}
"""Launchers in tools/: the command that they start, and how many arguments stand before its own options."""
LONG = ("train", "test", "predict", "overfit", "compare", "complexity", "evaluate", "benchmark", "reproduce", "svge", "detect")
"""Commands that take long, or keep the state of mmengine's runner: a page says `<!-- run: slow -->` of them."""
CHECKED = ("pip", "pytest", "ruff", "mkdocs", "git")
"""Programs whose lines are checked, as far as that goes, and never run."""
ELSEWHERE = ("cd", "sh", "tar", "sed", "unzip", "docker", "nvidia-smi", "mount", "sbatch")
"""Programs that a page may name where it says that the block is not run."""
FOREIGN = {"train.py": "timm", "validate.py": "timm", "run_detector.py": "an export", "time_models.py": "an export"}
"""Scripts of other projects, in a reader's working directory."""
OPTIONS = "--cfg-options"
SHORT = {
    "search": (
        "search.start=4", "search.rounds=1", "search.batch=2", "search.draws=300", "proxy.epochs=1", "executor.workers=1",
        "data.train_per_class=8", "data.val_per_class=2", "space.num_nodes=6", "encoder.type=statistics",
    ),
    "retrain": ("proxy.epochs=1", "executor.workers=1"),
    "train": (
        "epochs=1", "batch_size=4", "image_size=32", "train_dataloader.num_workers=0", "val_dataloader.num_workers=0",
        "test_dataloader.num_workers=0",
    ),
}  # fmt: skip
"""What makes a run short that a page gives as it is; what the page sets itself stays, but for how long it takes."""


@dataclass(frozen=True)
class Line:
    """A command: NAME=VALUE before it, and its words."""

    environment: tuple[str, ...]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


def lines(block: Block) -> list[Line]:
    """The commands of a block; those that `&&` joins are several. Raises AssertionError where it is no plain shell."""
    found: list[Line] = []
    for text in block.text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(text, posix=True, punctuation_chars="&|;<>()")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words: list[str] = []
        for word in [*lexer, "&&"]:
            if word != "&&":
                assert not re.fullmatch(r"[&|;<>()]+", word), f"line {block.line}: {word} is more than a plain command: {text}"
                words.append(word)
            elif words:
                count = next((i for i, one in enumerate(words) if not re.match(r"[A-Z_]+=", one)), len(words))
                found.append(Line(tuple(words[:count]), tuple(words[count:])))
                words = []
    return found


class _Read(Exception):
    """Ends a command once its arguments are read; `found` has them."""

    def __init__(self, found: Namespace) -> None:
        super().__init__()
        self.found = found


class _Parser(ArgumentParser):
    def parse_args(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _Read(super().parse_args(*args, **kwargs))

    def error(self, message: str) -> NoReturn:
        raise AssertionError(message)


class _Asked(Call):
    """A call whose command reads its arguments and does nothing more."""

    def parser(self, description: str | None) -> ArgumentParser:
        return _Parser(self.usage)


def arguments_of(name: str, arguments: Sequence[str]) -> Namespace:
    """What the command's own parser makes of its arguments. Raises AssertionError, with its message, where it refuses them."""
    try:
        import_module(COMMANDS[name].module).main(_Asked(list(arguments), "gemnet", f"gemnet {name}", ROOT))
    except _Read as read:
        return read.found
    raise AssertionError(f"gemnet {name} read no arguments")


def _launched(line: Line) -> list[str]:
    """The words of a line; of torchrun what it starts."""
    words = list(line.words)
    return ["python", *words[words.index("-m") :]] if words[0] == "torchrun" else words


def command_of(line: Line) -> tuple[str, list[str]] | None:
    """The command of `gemnet` that a line calls, by any of its ways, and its arguments; None for another program."""
    words = _launched(line)
    if words[0] == "gemnet":
        return words[1], words[2:]
    if words[:3] == ["python", "-m", "gemnet"] and words[3] in COMMANDS:
        return words[3], words[4:]
    path = Path(words[1] if words[0] in ("python", "bash") and len(words) > 1 else words[0])
    if path.parent == Path("tools") and path.name in SCRIPTS:
        name, count = SCRIPTS[path.name]
        positionals, rest = words[1 : 1 + count], words[1 + count :]
        return name, [*positionals[-{"train": 1, "test": 2}[name] :], *(rest[1:] if rest[:1] and rest[0].isdigit() else rest)]
    tools = {command.tool: name for name, command in COMMANDS.items() if command.tool}
    if words[0] == "python" and path.parent == Path("tools"):
        assert path.stem in tools, f"{path}: no such tool"
        return tools[path.stem], words[2:]
    return None


def check(line: Line, treatment: str) -> None:
    """Raises AssertionError, or the error of whoever reads it, for a line that could not be run as it stands.

    Files that a page makes lie in the working directory. What is asked: the program and the config are there, the command's
    own parser takes the arguments, and every option is a setting that is known, with a value that it may have.
    """
    found = command_of(line)
    if found is None:
        _check_other(line, treatment)
        return
    name, arguments = found
    assert name in COMMANDS, f"no command {name!r}"
    if name in LONG and "--help" not in arguments:
        assert treatment in (SLOW, NOT_RUN), f"{line}: say above the block whether it is `run: slow`, or why it is `not run`"
    if "--help" in arguments:
        return
    args = arguments_of(name, arguments)
    config = getattr(args, "config", None)
    for one in getattr(args, "configs", [config]):
        _check_config(name, one, getattr(args, "cfg_options", None), args)


def _check_config(name: str, config: str | None, options: Sequence[str] | None, args: Namespace) -> None:
    placeholder = config is None or config.isupper()
    if name == "search" and getattr(args, "action", None) is None:
        from search.configuration.settings import load_settings

        load_settings(config_path("digits" if placeholder else str(config), "search"), options)
    elif name == "search":
        from search.experiments.retraining import ALLOWED

        for key in named(options):
            assert key.startswith(ALLOWED), f"{key}: retrain takes {', '.join(ALLOWED)}"
    elif name in ("evaluate", "svge", "recipe"):
        from search.configuration.settings import load_settings

        load_settings(config_path("nasgem_cifar10" if placeholder else str(config), "search"), options)
    elif config is not None or options:
        from gemnet.openmmlab.engine import load_config

        load_config("gemnet::gemnet_a_image_folder.py" if placeholder else str(config), named(options))


def _check_other(line: Line, treatment: str) -> None:
    program, *rest = _launched(line)
    if program == "pip":
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        extras = re.findall(r"(?m)^(\w+) = \[", project.partition("[project.optional-dependencies]")[2].partition("\n[")[0])
        for word in rest:
            for name in re.findall(r"\[([\w,]+)\]", word) if re.match(r"\.|gemnet", word) else []:
                assert set(name.split(",")) <= set(extras), f"{word}: no such extra"
    elif program == "pytest":
        files = [word for word in rest if word.startswith("tests/")]
        assert all((ROOT / word).exists() for word in files), f"{files}: no such test"
    elif program == "bash":
        assert (ROOT / rest[0]).is_file(), f"{rest[0]}: no such script"
        assert treatment == NOT_RUN, f"{line}: say above the block why it is not run"
    elif program == "python" and rest[0] == "-c":
        ast.parse(rest[1])
    elif program == "python" and rest[:2] == ["-m", "gemnet"]:
        from gemnet.__main__ import program as file_of

        assert rest[2].isupper() or file_of(rest[2]), rest[2]
    elif program == "python":
        assert Path(rest[0]).is_file() or (ROOT / rest[0]).is_file() or rest[0] in FOREIGN, f"{rest[0]}: no such script"
        assert rest[0] not in FOREIGN or treatment == NOT_RUN, f"{line}: say above the block why it is not run"
    else:
        assert program in CHECKED or (program in ELSEWHERE and treatment == NOT_RUN), f"{program}: not known to the test"


def short(line: Line) -> tuple[str, list[str]] | None:
    """The command and arguments of a line that is run, made short; None for one that is not."""
    found = command_of(line)
    if found is None:
        assert line.words[0] in CHECKED or line.words[:2] == ("python", "-c"), f"{line}: nothing runs such a line"
        return None
    name, arguments = found
    action = arguments[0] if arguments[:1] == ["retrain"] else name
    if name == "search" and arguments[:1] in (["status"], ["top"], ["export"], ["report"], ["settings"]):
        return found
    if name == "detect" and arguments[:1] not in (["check"], ["predict"]):
        rest = [word for word, before in zip(arguments, ["", *arguments]) if "--minutes" not in (word, before)]
        searched = ["--search-options", *SHORT["search"]] if "--search" in rest else []
        return name, [*rest, "--epochs", "1", "--image-size", "64", "--batch-size", "2", *searched]
    more = SHORT.get(action, ())
    if not more or "--help" in arguments:
        return found
    if OPTIONS not in arguments:
        return name, [*arguments, OPTIONS, *more]
    at = arguments.index(OPTIONS) + 1
    end = next((place for place in range(at, len(arguments)) if arguments[place].startswith("--")), len(arguments))
    given = {pair.partition("=")[0] for pair in arguments[at:end]}
    chosen = any(name.startswith("encoder.") for name in given)  # whose settings are not those of another
    own = [
        pair
        for pair in more
        if pair.startswith(("epochs=", "search.", "proxy."))
        or (pair.partition("=")[0] not in given and not (chosen and pair.startswith("encoder.")))
    ]
    return name, [*arguments[:end], *own, *arguments[end:]]


def run(line: Line) -> int:
    """Run a line, short, in the working directory; the exit code. Long commands have a process of their own."""
    found = short(line)
    if found is None:
        return 0
    name, arguments = found
    tool = COMMANDS[name].tool
    if name in LONG and tool:
        ended = run_tool(f"{tool}.py", *arguments, cwd=Path.cwd())
        print(ended.stdout, ended.stderr)
        if name == "train" and ended.returncode == 0:
            _name_last_checkpoint(arguments)
        return ended.returncode
    return calling.run(name, replace(Call((), "gemnet", f"gemnet {name}", Path.cwd()), arguments=arguments))


def work_dir(arguments: Sequence[str]) -> str | None:
    """Where the arguments of `gemnet search` have it search; None where they ask for something else."""
    args = arguments_of("search", [*arguments])
    if getattr(args, "action", None) is not None or "--help" in arguments:
        return None
    return args.work_dir or str(Path("work_dirs") / Path(config_path(args.config, "search")).stem)


def _name_last_checkpoint(arguments: Sequence[str]) -> None:
    """Give the checkpoint of a short training the name also that the page's own length would have given it."""
    args = arguments_of("train", arguments)
    lengths = [pair.partition("=")[2] for pair in args.cfg_options or () if pair.startswith("epochs=")]
    folder = Path(args.work_dir or Path("work_dirs") / Path(config_path(args.config)).stem)
    if lengths[:-1] and (folder / "epoch_1.pth").exists():
        shutil.copyfile(folder / "epoch_1.pth", folder / f"epoch_{lengths[0]}.pth")
