"""The losses of training, one in each file, and the frozen networks that some of them need."""
