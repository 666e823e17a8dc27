"""The HTTP service: videos in, token grids out, and back."""

import os

# Read when torch loads OpenMP. Threads of a matrix product that wait for each other by spinning keep decoders
# and the event loop off their cores, and are kept off them: one busy decoder made a clip twenty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
