"""The network: patches, positions, attention, transformers, the quantizer, and the model made of them."""

from cvivit.network.model import CViViT

__all__ = ["CViViT"]
