"""
Which files each kind of rendering makes.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from webhook.config import Config
from webhook.render.files import File
from webhook.render.machine import dex, harbor, traefik
from webhook.render.nodes import containerd, docker, nodes


__all__ = ["KINDS", "files"]

_MAKERS: Final[Mapping[str, Callable[[Config, Path], Iterator[File]]]] = {
    "harbor": harbor,
    "traefik": traefik,
    "dex": dex,
    "containerd": containerd,
    "docker": docker,
    "nodes": nodes,
}

KINDS: Final = tuple(_MAKERS)


def files(kind: str, config: Config, folder: Path = Path()) -> tuple[File, ...]:
    """
    Return the files of *kind*, one of `KINDS`; relative paths in *config* count from *folder*.

    Raises:
        ConfigError: the config lacks what this kind needs.
        RenderError: a file that the config names can't be read.
    """
    return tuple(_MAKERS[kind](config, folder))
