"""The training package: raw video to shards, training, evaluation and export."""
