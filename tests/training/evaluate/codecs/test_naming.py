"""What a user may name in order to compare with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cvivit import CViViT, CViViTConfig
from cvivit.errors import WeightsError
from cvivit.weights import save_pretrained
from tests.training.tiny_run import tiny_config
from tests.training.whole_runs import run
from training.errors import CodecError
from training.evaluate.codecs.naming import find_contestants
from training.evaluate.codecs.protocol import CodecFamily
from training.export import Which

MINE = "tests.training.evaluate.codecs.my_codec"


def find(names: list[str], config: CViViTConfig, which: Which = "best") -> list[CodecFamily]:
    return find_contestants(names, config, which=which, device="cpu", precision="exact")


def test_weights_are_named_by_their_folder_and_taken_once(tiny_weights: Path, tiny: CViViTConfig) -> None:
    (family,) = find([str(tiny_weights), str(tiny_weights)], tiny)
    assert family.name == str(tiny_weights)
    (codec,) = family.points
    clips = torch.randint(0, 256, (2, *tiny.clip_shape), dtype=torch.uint8).numpy()
    coded = codec.encode(clips)
    assert list(coded.bits) == [tiny.tokens_per_clip * 6] * 2  # 64 codes
    assert codec.decode(coded).shape == clips.shape


def test_a_run_is_named_with_its_checkpoint(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "loop.steps=2", "checkpoint.every_steps=1")
    run(config)
    (family,) = find([str(tmp_path)], config.model)
    assert family.name == f"{tmp_path}, step-00000002"


def test_python_objects_are_one_codec_or_several_or_make_them(tiny: CViViTConfig) -> None:
    (one,) = find([f"{MINE}:whole"], tiny)
    assert (one.name, [codec.setting for codec in one.points]) == ("raw", ["8 bits"])
    for name in ("curve", "Raw"):
        (family,) = find([f"{MINE}:{name}"], tiny)
        assert len(family.points) == (3 if name == "curve" else 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:codec", "ModuleNotFoundError: No module named 'no_such_module'"),
        (f"{MINE}:missing", "AttributeError: .*'missing'"),
        (f"{MINE}:number", "it is no codec and no list of codecs"),
    ],
)
def test_objects_that_are_no_codecs_are_told(name: str, message: str, tiny: CViViTConfig) -> None:
    with pytest.raises(CodecError, match=f"--against {name}: {message}"):
        find([name], tiny)


def test_tokenizers_of_other_clips_are_refused(tmp_path: Path, tiny: CViViTConfig) -> None:
    other = CViViTConfig.demo(**(tiny.model_dump() | {"clip_frames": 9}))
    save_pretrained(CViViT(other), tmp_path)
    with pytest.raises(CodecError, match=r"takes clips of 9 frames of 32x32, .* measured 5 frames of 32x32"):
        find([str(tmp_path)], tiny)


def test_weights_that_are_not_there(tmp_path: Path, tiny: CViViTConfig) -> None:
    with pytest.raises(WeightsError, match="runs/missing"):
        find(["runs/missing"], tiny)
