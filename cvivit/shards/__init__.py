"""Webdataset shards: names and URLs, and reading in a shuffled order that can be resumed exactly."""
