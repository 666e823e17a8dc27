"""The HTTP service: videos in, token grids out, and back."""

import os

# Read when torch loads OpenMP. Threads of a matrix product that wait for each other by spinning keep decoders
# and the event loop off their cores, and are kept off them: one busy decoder made a clip twenty times slower.
# Those that sleep at once are woken hundreds of times a clip: a fifth slower. So libgomp, which torch's own
# builds use, spins for half a millisecond and then sleeps; other libraries have no such count, and sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
