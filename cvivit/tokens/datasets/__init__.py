"""Token datasets, which `cvivit tokenize` writes, and DATASETS.md specifies: reading and measuring them.

Nothing here imports torch but `torch_datasets.py`, and nothing imports pyarrow until a dataset in Parquet is
read.
"""

from cvivit.tokens.datasets.dataset import TokenDataset
from cvivit.tokens.datasets.manifest import Manifest
from cvivit.tokens.datasets.sample import TokenSample

__all__ = ["Manifest", "TokenDataset", "TokenSample"]
