"""The released weights: where they are, and what they must be. The one place that names either."""

from __future__ import annotations

REPOSITORY = "obvious-research/phenaki-cvivit"

REVISION = "main"
"""What is downloaded where nobody asks for another revision. Whatever it holds must have `SHA256`."""

SHA256 = "d33a3eee64e0463c33711eeea6bf66f5e337f42b17115ed6af4a4b6ef3faa574"
"""Of `CViViT/pytorch_model.bin`, 318 MB, as the Hub lists it."""
