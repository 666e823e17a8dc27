"""Losses of training, one room each, and the frozen networks that some look through."""
