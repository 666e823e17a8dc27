"""The logs, the progress bar, the samples and the trackers of a run."""
