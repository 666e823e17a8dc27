"""`cvivit info` describes weights."""

from __future__ import annotations

import json

from cvivit.commands.common import ModelOption, RevisionOption


def info(model: ModelOption = "demo", revision: RevisionOption = None) -> None:
    """Load weights, check them, and print their name, fingerprint, shapes and configuration as JSON."""
    from cvivit.weights import load_weights

    weights = load_weights(model, revision=revision)
    print(
        json.dumps(
            {
                "name": weights.name,
                "model": weights.fingerprint,
                "tokens_of": weights.tokens_of,
                "grid": weights.config.grid,
                "clip": weights.config.clip_shape,
                "config": weights.config.model_dump(mode="json"),
            },
            indent=2,
        )
    )
