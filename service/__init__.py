"""The HTTP service: videos in, token grids out, and back."""
