"""Videos inside webdataset shards: files of a tar, each with the caption and metadata of the same key.

::

    naming.py    SHARD.tar#NAME, the location of a file in a shard
    places.py    where the files of a shard are, from the headers of the tar alone
    members.py   the videos of a shard as sources, and their bytes
    ranges.py    a shard behind a URL, of which only the parts are read that are needed
"""

from cvivit.inputs.shards.members import copy_out, list_shards, sources_of, state_of_member
from cvivit.inputs.shards.naming import RemoteShard, in_shard, is_shard

__all__ = [
    "RemoteShard",
    "copy_out",
    "in_shard",
    "is_shard",
    "list_shards",
    "sources_of",
    "state_of_member",
]
