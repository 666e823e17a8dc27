"""C-ViViT, the video tokenizer of Phenaki (arXiv 2210.02399): a clip becomes integers and back."""

from cvivit.config import CViViTConfig

__all__ = ["CViViTConfig"]
