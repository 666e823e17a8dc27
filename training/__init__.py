"""The training package: it prepares videos, trains, evaluates and exports C-ViViT."""
