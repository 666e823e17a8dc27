"""Bulk encoding: many videos are read in other processes, and encoded in full batches.

    for result in encode_sources(tokenizer, find_sources(["films"]), ReadOptions()):
        if isinstance(result, EncodedSource):
            ...

It does not import torch, because the reading processes import it too.
"""

from cvivit.bulk.encoding import ReadingAhead, encode_sources
from cvivit.bulk.options import ReaderLimits, ReadOptions
from cvivit.bulk.results import EncodedSource, FailedSource, Progress, Result

__all__ = [
    "EncodedSource",
    "FailedSource",
    "Progress",
    "ReadOptions",
    "ReaderLimits",
    "ReadingAhead",
    "Result",
    "encode_sources",
]
