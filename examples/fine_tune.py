"""Fine-tune the decoder on your own videos.

Usage: python examples/fine_tune.py FOOTAGE OUTPUT [--steps 300]

FOOTAGE is a folder of videos, or a video. OUTPUT becomes a folder with the shards, the run, and `weights/`,
which the library, the command line and the service load by its path. Only the decoder learns, so tokens that
you have stored stay valid and decode better. The commands are printed as they run: they are what you would
type.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

BATCH = 4
WARM_UP = 20
"""Steps in which the learning rate rises, of a run that is long enough."""


def run(*arguments: object) -> None:
    """Run a command of the training package, and end with its status if it fails."""
    words = ["-m", "training", *map(str, arguments)]
    print(shlex.join(["python", *words]), flush=True)
    done = subprocess.run([sys.executable, *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Cut the footage into shards, train, and export."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("footage", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--weights", default="demo", help="what to start from: as for --model of cvivit")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    shards, folder = options.output / "shards", options.output / "run"
    warm_up = min(WARM_UP, max(1, options.steps // 10))

    run("prepare", options.footage, shards)
    run(
        "train",
        "--config=finetune",
        "--set",
        f"checkpoint.weights={options.weights}",
        f"checkpoint.directory={folder}",
        f"data.train={shards}/train-*.tar",
        f"data.batch_size={BATCH}",
        'loop.freeze=["encoder", "quantizer"]',
        f"loop.steps={options.steps}",
        f"schedule.warmup_steps={warm_up}",
        f"schedule.decay_steps={max(1, options.steps - warm_up)}",
        # The perceptual loss needs VGG16, which is downloaded. Leave this line out to use it: it is worth it.
        "losses.lpips=0",
    )
    run("export", folder, options.output / "weights", "--which=newest")


if __name__ == "__main__":
    main()
