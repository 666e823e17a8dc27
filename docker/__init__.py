"""The files of the images. `sudo python3 -m tests.docker.images.prove service` proves that they work."""
