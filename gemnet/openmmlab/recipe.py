"""One number each for a run's length, batch, image size and data: what follows from it in a config, changed with it.

A config states the numbers at its top level (`epochs`, `batch_size`, `image_size`, `data_root`), and in `recipe` those that its
other values were made with. A number that differs, in a config that inherits or on the command line, is carried to every value
that was made with the former one; what somebody set by hand stays. mmengine alone reads the same files, whose values are right
as they stand. `gemnet.openmmlab.schedule` has what follows from the length.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from mmengine.config import Config

from gemnet.core.errors import UserError
from gemnet.core.settings import Setting, shown
from gemnet.openmmlab import schedule

LENGTH = "train_cfg.max_epochs"
"""mmengine's own name of `epochs`; either may be given."""
VALIDATION = "train_cfg.val_interval"
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
EVALUATORS = ("val_evaluator", "test_evaluator")
SIZES = ("scale", "crop_size", "padding")
"""Settings of transforms that are numbers of pixels."""
SIDED = ("scale", "crop_size", "size")
"""Settings of a detector's transforms that are both sides of an image: of resizing, cropping, padding."""
LARGEST = 100_000

NUMBERS = {
    "epochs": Setting("How often the training images are seen.", int, at_least=1, at_most=LARGEST, unit="epochs"),
    "batch_size": Setting("Images in a step of one process.", int, at_least=1, at_most=LARGEST, unit="images"),
    "image_size": Setting("The side that a classifier's images are cut to.", int, at_least=1, at_most=LARGEST, unit="pixels"),
    "data_root": Setting("The folder of the data.", str),
}
SIDES = Setting(
    "What a detector's images are fitted into: the longer side at most the one, the shorter at most the other.",
    list, length=(2, 2), item=Setting("", int, at_least=1, at_most=LARGEST, unit="pixels"),
)  # fmt: skip


class RecipeError(UserError):
    """Numbers of a run that contradict each other, or that nothing in the config follows."""


def settle(config: Config) -> None:
    """Carry the numbers that a config has set itself to what it inherits, which was made with those in `recipe`.

    `train_cfg.max_epochs` is the same number as `epochs`. Raises RecipeError where they are set to different ones.
    """
    made_with = config.get("recipe", {})
    if not isinstance(made_with, dict):
        raise RecipeError(f"{config.filename}: recipe={shown(made_with)}: expected the numbers that the config was made with")
    interval = made_with.get("val_interval")
    by_hand = {VALIDATION} if interval is not None and config.train_cfg.get("val_interval") != interval else ()
    for name, old in list(made_with.items()):
        if name == "val_interval":
            continue
        if name not in NUMBERS:
            raise RecipeError(f"{config.filename}: recipe: no number {shown(name)}; expected {', '.join(NUMBERS)}")
        found = [config.get(name, old), *([_length(config) or old] if name == "epochs" else [])]
        new = [value for value in found if not _same(value, old)]
        if any(not _same(value, new[0]) for value in new):
            raise _contradiction(config.filename, *new)
        _carry(config, name, checked(config, name, new[0] if new else old, f"{config.filename}: "), old, by_hand)


def override(config: Config, options: Mapping[str, Any]) -> dict[str, Any]:
    """Carry the numbers among `options` (dotted keys) to all that follows; returns the options that are left.

    What the options name themselves is left to them: `param_scheduler.0.end=3` leaves the whole schedule to whoever sets it.
    Raises RecipeError for numbers that contradict each other, or that nothing follows.
    """
    left = {key: value for key, value in options.items() if key not in NUMBERS}
    given = {key: checked(config, key, options[key]) for key in NUMBERS if key in options}
    if LENGTH in left and _length(config) is not None:
        length = NUMBERS["epochs"].check(LENGTH, left.pop(LENGTH))
        if given.setdefault("epochs", length) != length:
            raise _contradiction("--cfg-options", given["epochs"], length)
    for name, new in given.items():
        old = reference(config, name)
        if old is None:
            raise RecipeError(f"{name}={shown(new)}: nothing in {config.filename} follows this number")
        _carry(config, name, new, old, left)
    return left


def adopt_image_size(config: Config, trained: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> str | None:
    """Have a config test with the image size that a model was `trained` with (`checkpoint_recipe`); returns what to tell of it.

    A size that the options (dotted keys, or nested dictionaries) set, as a number or in a pipeline, stays, and so does that of
    a config which the number does not fit.
    """
    own, size = reference(config, "image_size"), trained.get("image_size")
    if own is None or size is None or _sets_test_size(options or {}):
        return None
    try:
        size = checked(config, "image_size", size)
        if _same(size, own):
            return None
        _carry(copy.deepcopy(config), "image_size", size, own)  # it may fail half way
    except UserError:
        return (
            f"the checkpoint was trained with image_size={shown(size)}, which {config.filename} cannot follow: it has its own"
        )
    _carry(config, "image_size", size, own)
    return f"image_size={shown(size)}, as the checkpoint was trained, not {shown(own)} as in {config.filename}"


def _sets_test_size(options: Mapping[str, Any]) -> bool:
    """Whether options set the image size, or a pipeline but those of training and validation."""
    for key, value in options.items():
        path = str(key).split(".")
        if path[0].startswith(("train_", "val_")):
            continue
        if {"image_size", "pipeline", "test_pipeline"} & set(path) or (isinstance(value, Mapping) and _sets_test_size(value)):
            return True
    return False


def sets_schedule(options: Collection[str]) -> bool:
    """Whether options (dotted keys) set times of the learning rate's schedule themselves."""
    keys = [key for key in options if key.partition(".")[0] == "param_scheduler"]
    return any(key == "param_scheduler" or key.rpartition(".")[2] in schedule.TIMES for key in keys)


def shorten(config: Config, longest: int | None) -> None:
    """Make a run that is longer than `longest` epochs that long; the config's number is the run's again."""
    length = _length(config)
    if length is not None:
        config.epochs = length
        if "epochs" in config.get("recipe", {}):
            config.recipe.epochs = length
        _carry(config, "epochs", min(length, longest or length), length)


def reference(config: Config, name: str) -> Any:
    """What the config has now for a number: its own, or where it states none the value that the number stands for; or None."""
    if name == "epochs":
        return _length(config)
    loader = config.get("train_dataloader")
    inferred = None
    if isinstance(loader, dict) and name == "batch_size":
        inferred = loader.get("batch_size")
    elif isinstance(loader, dict) and name == "data_root":
        inferred = next((part["data_root"] for part in _dictionaries(loader) if part.get("data_root")), None)
    return config.get(name, inferred)


def checked(config: Config, name: str, value: Any, where: str = "") -> Any:
    """A number, checked; a detector's image size may be one whole number, for both sides. Raises UserError."""
    setting = NUMBERS[name]
    if name == "image_size" and isinstance(config.get(name), (list, tuple)):
        setting = SIDES
        if isinstance(value, int) and not isinstance(value, bool):
            value = [value, value]
    elif name == "data_root" and isinstance(value, (int, os.PathLike)) and not isinstance(value, bool):
        value = os.fspath(value) if isinstance(value, os.PathLike) else str(value)  # a folder 2017 is read as a number
    return setting.check(f"{where}{name}", value)


def _contradiction(where: Any, epochs: Any, length: Any) -> RecipeError:
    return RecipeError(f"{where}: epochs={shown(epochs)}, but {LENGTH}={shown(length)}: they are one number; set one of them")


def _length(config: Config) -> int | None:
    settings = config.get("train_cfg")
    return settings.get("max_epochs") if isinstance(settings, dict) else None


def _carry(config: Config, name: str, new: Any, old: Any, by_hand: Collection[str] = ()) -> None:
    """Set a number, and what was made with the old one."""
    if _same(new, old):
        return
    if not FOLLOWS[name](config, new, old, by_hand):
        raise RecipeError(
            f"{name}={shown(new)}: nothing in {config.filename} was made with {name}={shown(old)}; set the values one by one"
        )
    config[name] = new
    if name in config.get("recipe", {}):
        config.recipe[name] = new


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return sorted(one, key=repr) == sorted(other, key=repr)
    if isinstance(one, str) and isinstance(other, str):
        return os.path.normpath(one) == os.path.normpath(other)
    return type(one) is type(other) and one == other


def _dictionaries(value: Any) -> Iterator[Any]:
    """Every dictionary in `value`, the outer ones first."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _dictionaries(part)


def _parts(config: Config, names: Collection[str]) -> list[Any]:
    return [config[name] for name in names if config.get(name)]


def _epochs(config: Config, new: int, old: int, by_hand: Collection[str]) -> bool:
    config.train_cfg.max_epochs = new
    if "val_interval" in config.train_cfg and VALIDATION not in by_hand:
        config.train_cfg.val_interval = schedule.interval(config.train_cfg.val_interval, new, old)
        if "val_interval" in config.get("recipe", {}):
            config.recipe.val_interval = config.train_cfg.val_interval
    schedulers = config.get("param_scheduler")
    if not sets_schedule(by_hand) and isinstance(schedulers, (dict, list)) and schedule.span(schedulers) == old:
        config.param_scheduler = schedule.stretched(schedulers, new, old)
    return True


def _batch_size(config: Config, new: int, old: int, by_hand: Collection[str]) -> bool:
    loaders = [loader for loader in _parts(config, LOADERS) if loader.get("batch_size") in (old, new)]
    for loader in loaders:
        loader.batch_size = new
    return bool(loaders)


def _data_root(config: Config, new: str, old: str, by_hand: Collection[str]) -> bool:
    roots = [part for part in _dictionaries(_parts(config, LOADERS)) if part.get("data_root")]
    parts = [part for part in roots if _same(part["data_root"], old) or _same(part["data_root"], new)]
    for part in parts:
        part["data_root"] = new
    for part in _dictionaries(_parts(config, EVALUATORS)):
        file = part.get("ann_file")
        if isinstance(file, str) and os.path.normpath(file).startswith(os.path.normpath(old) + os.sep):
            part["ann_file"] = os.path.join(new, os.path.relpath(file, old))
    return bool(parts)


def _image_size(config: Config, new: Any, old: Any, by_hand: Collection[str]) -> bool:
    pipelines = {name: _pipelines(config.get(name)) for name in LOADERS if config.get(name)}
    for name, found in pipelines.items():
        explicit = any(key.startswith(f"{name}.") and ("pipeline" in key.split(".")) for key in by_hand)
        taken = [_resize(steps, new, old) for steps in found]
        if not any(taken) and not explicit:
            raise RecipeError(
                f"image_size={shown(new)}: no step of {name}'s pipeline has scale or crop_size={shown(old)}, as the config was "
                f"made with; set the sizes there, {name}.dataset.pipeline.1.scale=..."
            )
    for name in ("train_pipeline", "test_pipeline"):  # of the loaders, under names of their own
        if isinstance(config.get(name), list):
            _resize(config[name], new, old)
    return bool(pipelines)


def _pipelines(loader: Any) -> list[Any]:
    return [part["pipeline"] for part in _dictionaries(loader) if isinstance(part.get("pipeline"), list)]


def _resize(steps: Any, new: Any, old: Any) -> bool:
    """Change a pipeline that was made for `old`; whether it was, or is for `new` as it stands."""
    parts = [part for part in _dictionaries(steps) if any(key in part for key in SIZES)]
    if isinstance(old, int):
        sizes = [part[key] for part in parts for key in ("scale", "crop_size") if key in part]
        if not _final(sizes, old):
            return _final(sizes, new)
        for part in parts:
            for key in SIZES:
                if key in part:
                    part[key] = _scaled(part[key], new / old)
        return True
    places = [(part, key) for part in _dictionaries(steps) for key in SIDED if isinstance(part.get(key), (list, tuple))]
    found = [(part, key) for part, key in places if _same(part[key], old)]
    for part, key in found:
        part[key] = tuple(new)
    return bool(found) or any(_same(part[key], new) for part, key in places)


def _final(sizes: list[Any], size: int) -> bool:
    """Whether the last of the sizes is `size`, as one number or as the two sides."""
    return bool(sizes) and sizes[-1] in (size, (size, size), [size, size])


def _scaled(value: Any, ratio: float) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_scaled(part, ratio) for part in value)
    return max(1, round(value * ratio)) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else value


FOLLOWS: dict[str, Callable[[Config, Any, Any, Collection[str]], bool]] = {
    "epochs": _epochs,
    "batch_size": _batch_size,
    "image_size": _image_size,
    "data_root": _data_root,
}
"""By number: changes what was made with the old one, and tells whether anything was."""
