"""The configs that the package brings along: `gemnet::retinanet_gemnet_a.py`, on a command line and as a config's `_base_`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemnet.core.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

SCOPE = "gemnet::"
FOLDER = Path(__file__).resolve().parents[1] / ".mim" / "configs"
"""Where they lie in the package, as OpenMMLab's packages have theirs."""


def packaged(name: str) -> Path:
    """The file of `name`, as `gemnet::search/digits.py`. Raises UserError, with the names there are, where it is none."""
    path = FOLDER / name.removeprefix(SCOPE)
    if not path.is_file() or FOLDER not in Path(os.path.abspath(path)).parents:
        folder = path.parent if path.parent.is_dir() else FOLDER
        near = ", ".join(f"{SCOPE}{file.relative_to(FOLDER)}" for file in sorted(folder.glob("*.py")))
        raise UserError(f"{name}: no such config" + (f"; there are {near}" if near else ""))
    return path


def config_path(given: str | os.PathLike[str], folder: str = "") -> str:
    """The path of a config as a command line names it: a file, `gemnet::NAME.py`, or the bare NAME of one in the package.

    Args:
        given: What was named.
        folder: Where bare names are looked for in the package, as `search`.

    Returns:
        The packaged file's path, or `given` as it is where it is no name of one: who reads it tells when it is not there.

    Raises:
        UserError: There is no such `gemnet::` config.
    """
    name = os.fspath(given)
    if name.startswith(SCOPE):
        return str(packaged(name))
    bare = FOLDER / folder / f"{name}.py"
    return str(bare) if name.isidentifier() and not Path(name).exists() and bare.is_file() else name


def read_config(path: str | os.PathLike[str], import_custom_modules: bool = True) -> Config:
    """Read mmengine's Config of a file; its `_base_` may be `gemnet::` configs. It is a program: it may raise any error."""
    from mmengine.config import Config

    offer_configs()
    return Config.fromfile(os.fspath(path), import_custom_modules=import_custom_modules)


def offer_configs() -> None:
    """Let mmengine find `gemnet::` configs that a `_base_` names: it knows the packages of OpenMMLab alone.

    A second call changes nothing. The types that such a config names are looked up as in the config that inherits it.
    """
    from mmengine.config import Config

    find = Config._get_cfg_path
    if getattr(find, "finds_gemnet", False):
        return

    def find_gemnets(cfg_path: str, filename: str) -> tuple[str, Any]:
        return (str(packaged(cfg_path)), None) if cfg_path.startswith(SCOPE) else find(cfg_path, filename)

    find_gemnets.finds_gemnet = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(find_gemnets)
