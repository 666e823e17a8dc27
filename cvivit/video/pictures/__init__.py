"""From decoded frames to pictures: shape, size and colours."""
