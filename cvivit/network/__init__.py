"""The network: patches, positions, attention, transformers, quantizer, and the model they make."""

from cvivit.network.model import CViViT

__all__ = ["CViViT"]
