"""From the packets of one track to its frames: what is decoded, and what is said of what cannot be."""
