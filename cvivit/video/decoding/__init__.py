"""Decode the packets of one track to frames, and report the packets that cannot be decoded."""
