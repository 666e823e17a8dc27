"""What is wrong with a call by its names and options alone is said before torch is imported, in a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from cvivit import CViViTConfig
from tests.cvivit.commands.command import Command
from tests.places import ROOT

CALLS = {
    "encode clip.mp4 out.xyz": "tokens are written as .safetensors or .json",
    "encode gone.mp4 out.json": "gone.mp4: no such file or directory",
    "encode clip.mp4 nodir/out.json": "nodir: no such file or directory",
    "encode clip.mp4 out.json --format safetensors": "safetensors does not go with out.json",
    "encode clip.mp4 out.json --seconds 0": "--seconds': 0 is not a positive number of seconds",
    "encode clip.mp4 out.json --device gpu": "'gpu' is not a device: try auto, cpu, cuda or cuda:1",
    "decode tokens.json out.avi": "videos are written as .mp4, .webm or .gif",
    "decode empty.json out.mp4": "empty.json: the file is empty",
    "decode tokens.json out.mp4": "tokens.json: indices is missing",
    "decode cut.json out.mp4": "cut.json: not JSON from line 1, column 20",
    "decode flat.json out.mp4": "flat.json: indices must be nested lists (clips, T, H, W)",
    "decode wide.json out.mp4 -m weights": "wide.json: a clip's grid (T, H, W) must be (3, 4, 4), not",
    "decode range.json out.mp4 -m weights": "range.json: ",
    "decode tokens.npy out.mp4": "tokens.npy: not a token file: it is neither JSON nor safetensors",
    "decode cut.safetensors out.mp4": "cut.safetensors: the file ends within the header",
    "visualize range.json out.png -m weights": "range.json: ",
    "visualize tokens.json out.png": "tokens.json: indices is missing",
    "detokenize dataset out": "dataset: its tokens are ",
    "decode gone.json out.mp4": "gone.json: no such file or directory",
    "reconstruct clip.mp4 out.xyz": "videos are written as .mp4, .webm or .gif",
    "visualize clip.mp4 out.xyz": "pair is written as .mp4, .webm, .gif or .webp",
    "visualize clip.mp4 out.mp4 --kind usage": "usage is written as .png or .webp",
    "visualize tokens.json out.mp4 --kind pair": "tokens.json holds tokens: it has no original to show",
    "visualize gone.mp4 out.png": "gone.mp4: no such file",
    "visualize clip.mp4 out.png --seconds 0": "--seconds': 0 is not a positive number of seconds",
    "detokenize gone out": "gone: no such folder",
    "detokenize dataset clip.mp4": "clip.mp4: it is a file, and a folder is wanted",
    "detokenize dataset clip.mp4/out": "clip.mp4: it is a file, and a folder is wanted",
    "detokenize dataset out --keys none": "dataset: no sample has a key like none",
    "tokens stats gone": "gone: no such folder",
    "tokens stats dataset --plot out.pdf": "plots are written as .png",
    "tokens stats dataset --plot nodir/out.png": "nodir: no such file or directory",
    "info gone.mp4": "gone.mp4: no such file or directory",
    "info .": ".: is a directory",
    "info clip.mp4 --seconds 0": "--seconds': 0 is not a positive number of seconds",
    "tokenize gone out": "gone: no such file or folder",
    "tokenize clip.mp4 clip.mp4": "clip.mp4: it is a file, and a folder is wanted",
    "tokenize clip.mp4 out --seconds 0": "--seconds': 0 is not a positive number of seconds",
    "tokenize clip.mp4 out --drop-last": "drop_last: it needs windows",
    "tokenize clip.mp4 out --max-failed some": "--max-failed: 'some' is neither a share",
    "encode clip.mp4 out.json -m dmo": "Did you mean demo?",
    "encode clip.mp4 out/ -m dmo": "Did you mean demo?",
    "decode tokens.json out.mp4 -m no/such/weights": "there is no file or folder 'no/such/weights'",
    "reconstruct clip.mp4 out.mp4 -m dmo": "Did you mean demo?",
    "visualize clip.mp4 out.png -m dmo": "Did you mean demo?",
    "detokenize dataset out -m dmo": "Did you mean demo?",
    "tokenize clip.mp4 out -m dmo": "Did you mean demo?",
    "info -m dmo": "Did you mean demo?",
    "agreement clip.mp4 -m dmo": "Did you mean demo?",
    "encode clip.mp4 s3://bucket/out.json": "s3://bucket/out.json is a URL: write to this computer",
    "encode clip.mp4 gs://bucket/out/": "gs://bucket/out/ is a URL: write to this computer",
    "decode tokens.json s3://bucket/out.mp4": "s3://bucket/out.mp4 is a URL: write to this computer",
    "reconstruct clip.mp4 s3://bucket/out.mp4": "s3://bucket/out.mp4 is a URL: write to this computer",
    "visualize clip.mp4 s3://bucket/out.png": "s3://bucket/out.png is a URL: write to this computer",
    "tokenize clip.mp4 s3://bucket/out": "s3://bucket/out is a URL: write to this computer",
    "tokenize clip.mp4 file:///tmp/out": "file:///tmp/out is a URL: write to this computer",
    "detokenize dataset s3://bucket/out": "s3://bucket/out is a URL: write to this computer",
    "detokenize s3://bucket/dataset out": "s3://bucket/dataset is a URL, which is not read here",
    "tokens stats s3://bucket/dataset": "s3://bucket/dataset is a URL, which is not read here",
    "tokens stats dataset --plot s3://b/a.png": "s3://b/a.png is a URL: write to this computer",
    "info s3://bucket/clip.mp4": "s3://bucket/clip.mp4 is a URL, which is not read here",
    "agreement s3://bucket/clips": "s3://bucket/clips is a URL, which is not read here",
    "encode s3://bucket/clip.mp4 out.json": "s3:// needs the package s3fs: pip install s3fs",
    "decode nonsense://bucket/tokens.json out.mp4": "nonsense:// is not read",
    "bench --device gpu": "'gpu' is not a device: try auto, cpu, cuda or cuda:1",
}
PROGRAM = """
import contextlib, io, json, sys
sys.modules["torch"] = None  # importing it is an error
from cvivit.commands.app import main
said = {}
for call in json.loads(sys.argv[1]):
    sys.argv = ["cvivit", *call.split()]
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.suppress(SystemExit):
        main()
    said[call] = err.getvalue()
print(json.dumps(said))
"""


def write_wrong_tokens(place: Path, tiny: CViViTConfig) -> None:
    """Write files of tokens that no weights of the tiny network decode."""
    right = np.zeros((1, *tiny.grid), dtype=np.int64)
    contents = {
        "tokens.json": "{}",
        "empty.json": "",
        "cut.json": '{"indices": [[[1, 2',
        "flat.json": '{"indices": [1, 2]}',
        "wide.json": json.dumps({"indices": np.zeros((1, 9, 9, 9), dtype=int).tolist()}),
        "range.json": json.dumps({"indices": (right + tiny.codebook_size).tolist()}),
        "cut.safetensors": "\x09\0\0\0\0\0\0\0{",
    }
    for name, text in contents.items():
        (place / name).write_text(text)
    np.save(place / "tokens.npy", right)


def test_wrong_names_and_options_need_no_torch(cvivit: Command, place: Path, tiny: CViViTConfig) -> None:
    write_wrong_tokens(place, tiny)
    options = ("-m", "weights", "--precision", "exact", "--readers", "1")
    assert cvivit("tokenize", "clip.mp4", "dataset", *options).wrote("dataset")
    before = sorted(place.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(list(CALLS))],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    wrong = {call: said[call] for call, message in CALLS.items() if message not in said[call]}
    assert not wrong
    assert all(text.count("\n") == 1 for text in said.values())
    assert sorted(place.iterdir()) == before


def test_an_option_that_cannot_be_leaves_no_dataset(cvivit: Command, place: Path) -> None:
    options = ("-m", "weights", "--precision", "exact", "--readers", "1")
    done = cvivit("tokenize", "clip.mp4", "corrected", *options, "--overlap", "5")
    assert (done.status, "overlap: 5 is not in [0, 4]" in done.err) == (1, True)
    assert not (place / "corrected").exists()
    assert cvivit("tokenize", "clip.mp4", "corrected", *options, "--overlap", "4").wrote("corrected")
