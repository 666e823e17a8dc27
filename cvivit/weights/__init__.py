"""Weights: from a name to checked tensors, and from a model to files or the Hub."""

from cvivit.weights.export import push_to_hub, save_pretrained, write_weights
from cvivit.weights.fingerprint import encoder_fingerprint, fingerprint
from cvivit.weights.load import LoadedWeights, load_weights

__all__ = [
    "LoadedWeights",
    "encoder_fingerprint",
    "fingerprint",
    "load_weights",
    "push_to_hub",
    "save_pretrained",
    "write_weights",
]
