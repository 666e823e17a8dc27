"""Rate and distortion: tokenizers and video codecs behind one protocol, on the same clips."""
