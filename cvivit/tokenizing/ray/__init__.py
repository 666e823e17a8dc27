"""Tokenize past one machine: the stages of bulk encoding as a pipeline of Ray Data.

::

    sources, a few to a block
        -> their clips, by actors on CPUs                 stages.py, ReadSources
        -> the tokens of full batches, an actor a device  stages.py, EncodeClips
        -> the result of each source, in their order      encoding.py, in the program that was started

cluster.py says how many actors of each there are, and ratio.py how many there should be. The program that was
started writes the shards, as it does without Ray. So they are the same to the byte, and a run that was killed
goes on from what it wrote.
"""
