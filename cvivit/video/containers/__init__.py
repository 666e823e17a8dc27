"""Open containers: recognise them, check that a file is complete, and choose the track of the video."""
