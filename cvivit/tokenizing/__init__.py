"""Tokenize any number of sources to a token dataset, and go on exactly where a killed run stopped.

::

    sources, in the order of their locations
        -> shards of so many sources each, whatever becomes of them          plan.py
        -> the tokens of each source, appended to the shard's part file      parts.py
        -> the shard, whole or not at all, and its record                    shards.py
        -> manifest.json, when all shards are there                          run.py

A shard depends on its sources and on the settings alone, never on who made it or when.
"""
