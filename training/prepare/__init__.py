"""Turn videos and stills into webdataset shards of clips: `python -m training prepare`."""

from training.prepare.run import prepare
from training.prepare.settings import PrepareSettings

__all__ = ["PrepareSettings", "prepare"]
