"""Weights: from a name to checked tensors, and from a model to files or the Hub.

Names are imported on first use. So finding weights and reading their `config.json` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvivit.weights.export import push_to_hub, save_pretrained, write_weights
    from cvivit.weights.fingerprints import encoder_fingerprint, fingerprint
    from cvivit.weights.load import LoadedWeights, load_weights

_MODULES = {
    "LoadedWeights": "load",
    "encoder_fingerprint": "fingerprints",
    "fingerprint": "fingerprints",
    "load_weights": "load",
    "push_to_hub": "export",
    "save_pretrained": "export",
    "write_weights": "export",
}

__all__ = [
    "LoadedWeights",
    "encoder_fingerprint",
    "fingerprint",
    "load_weights",
    "push_to_hub",
    "save_pretrained",
    "write_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
