"""When each frame is on screen, which frames the clip's clock falls on, and which need not be decoded."""
