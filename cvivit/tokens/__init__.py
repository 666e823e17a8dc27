"""Token grids and their two file forms (FORMAT.md), and token datasets (DATASETS.md).

This package imports without torch. `TorchTokens` and `ShuffledTokens` import it when they are first asked
for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvivit.tokens.datasets import TokenDataset, TokenSample
from cvivit.tokens.grid import TokenGrid

if TYPE_CHECKING:
    from cvivit.tokens.datasets.torch_datasets import ShuffledTokens, TorchTokens

__all__ = ["ShuffledTokens", "TokenDataset", "TokenGrid", "TokenSample", "TorchTokens"]


def __getattr__(name: str) -> Any:
    if name in ("ShuffledTokens", "TorchTokens"):
        from cvivit.tokens.datasets import torch_datasets

        return getattr(torch_datasets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
