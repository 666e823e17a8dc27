"""C-ViViT, the video tokenizer of Phenaki (arXiv 2210.02399): a clip becomes integers and back.

    from cvivit import VideoTokenizer

    tokenizer = VideoTokenizer.from_pretrained("demo")
    grid = tokenizer.encode("clip.mp4")
    frames = tokenizer.decode(grid)

Names that need torch are imported on first use, so that a process that only reads video stays small.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from cvivit.config import CViViTConfig

if TYPE_CHECKING:
    from cvivit.network import CViViT
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens.grid import TokenGrid

_MODULES = {"CViViT": "network", "TokenGrid": "tokens", "VideoTokenizer": "tokenizer"}

__all__ = ["CViViT", "CViViTConfig", "TokenGrid", "VideoTokenizer", "__version__"]

try:
    __version__ = version("phenaki-cvivit")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0.0.0"


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"cvivit.{_MODULES[name]}"), name)
