"""The images' files, and the proof that they work (`python -m tests.docker.images.prove`)."""
