"""The released weights: where they are and what their checksum is. Nothing else names either."""

from __future__ import annotations

REPOSITORY = "obvious-research/phenaki-cvivit"

REVISION = "main"
"""The revision that is downloaded by default. Its weights must have the checksum `SHA256`."""

SHA256 = "d33a3eee64e0463c33711eeea6bf66f5e337f42b17115ed6af4a4b6ef3faa574"
"""The sha256 of `CViViT/pytorch_model.bin`, 318 MB, as the Hub lists it."""
