"""The server process, its connections, and the limits of its machine."""
