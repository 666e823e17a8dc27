"""The HTTP service: videos in, token grids out, and back."""

import os

# The threads of a matrix product wait for each other many times. OpenMP, which torch loads, reads here how
# they wait. If they spin, they keep the decoders and the event loop off the cores, and while one of those
# runs, all others spin for nothing: one busy decoder made a clip twenty times slower. If they sleep at once,
# they have to be woken hundreds of times a clip, which made it a fifth slower. So libgomp, which torch's own
# builds use, is told to spin for half a millisecond and then to sleep. Other OpenMP libraries know no such
# count, and sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
