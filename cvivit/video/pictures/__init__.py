"""Turn decoded frames into pictures: shape, size and colours."""
