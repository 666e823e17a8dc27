"""Find when each frame is on screen, which frames the clip needs, and which need not be decoded."""
