"""Raw videos and stills to webdataset shards of clips: `python -m training prepare`."""

from training.prepare.run import prepare
from training.prepare.settings import PrepareSettings

__all__ = ["PrepareSettings", "prepare"]
