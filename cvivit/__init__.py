"""C-ViViT, the video tokenizer of Phenaki (arXiv 2210.02399): a clip becomes integers and back.

    from cvivit import VideoTokenizer

    tokenizer = VideoTokenizer.from_pretrained("demo")
    grid = tokenizer.encode("clip.mp4")
    frames = tokenizer.decode(grid)

Names are imported on first use. So a process that only reads video stays small without torch, and a command
is answered, or interrupted, before anything large is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvivit.config import CViViTConfig
    from cvivit.network import CViViT
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens.grid import TokenGrid

    __version__: str

_MODULES = {
    "CViViT": "network",
    "CViViTConfig": "config",
    "TokenGrid": "tokens",
    "VideoTokenizer": "tokenizer",
}

__all__ = ["CViViT", "CViViTConfig", "TokenGrid", "VideoTokenizer", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"cvivit.{_MODULES[name]}"), name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("phenaki-cvivit")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.0.0"
