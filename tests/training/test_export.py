from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cvivit import CViViT, CViViTConfig, VideoTokenizer
from cvivit.errors import WeightsError, WeightsNotFoundError, WeightsUnavailableError
from cvivit.weights import hub, load_weights, save_pretrained
from training.errors import CheckpointCorruptError, DataWriteError, OutputMismatchError
from training.export import export
from training.run.saving.checkpoint import Best, Checkpoint, CheckpointStore


def network(tiny: CViViTConfig, seed: int) -> CViViT:
    torch.manual_seed(seed)
    return CViViT(tiny)


@pytest.fixture
def run(tiny: CViViTConfig, tmp_path: Path) -> Path:
    """A run of two checkpoints, the first of which is best.

    The weights of step n are made with the seed 10 n, and its averaged weights with 10 n + 1.
    """
    store = CheckpointStore(tmp_path / "run", keep=2)
    for step in (1, 2):
        modules = {name: network(tiny, 10 * step + number) for number, name in enumerate(("model", "ema"))}
        checkpoint = Checkpoint(
            step=step,
            modules={name: module.state_dict() for name, module in modules.items()},
            network=tiny.model_dump(mode="json"),
            training={},
        )
        store.save(checkpoint, best=Best(step=1, metric="psnr", value=20.0) if step == 1 else None)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("which", "averaged", "seed"),
    [("best", True, 11), ("best", False, 10), ("newest", True, 21), ("newest", False, 20)],
)
def test_a_run_is_exported(
    run: Path, tiny: CViViTConfig, tmp_path: Path, which: str, averaged: bool, seed: int
) -> None:
    fingerprint = export(run, tmp_path / "out", which=which, averaged=averaged)  # type: ignore[arg-type]
    tokenizer = VideoTokenizer.from_pretrained(tmp_path / "out", device="cpu")
    assert tokenizer.fingerprint == fingerprint
    assert tokenizer.config == tiny
    for key, tensor in network(tiny, seed).state_dict().items():
        assert torch.equal(tokenizer.model.state_dict()[key], tensor), key
    assert f"`{fingerprint}`" in (tmp_path / "out" / "README.md").read_text()


def test_a_checkpoint_is_exported_by_its_folder(run: Path, tmp_path: Path) -> None:
    direct = export(run / "checkpoints" / "step-00000002", tmp_path / "direct")
    assert direct == export(run, tmp_path / "newest", which="newest")


def test_a_damaged_checkpoint_is_passed_over_or_refused(run: Path, tmp_path: Path) -> None:
    newest = run / "checkpoints" / "step-00000002" / "ema.safetensors"
    newest.write_bytes(newest.read_bytes()[:-10])
    assert export(run, tmp_path / "a", which="newest") == export(run, tmp_path / "b", which="best")
    best = run / "checkpoints" / "step-00000001" / "ema.safetensors"
    best.write_bytes(best.read_bytes()[:-10])
    with pytest.raises(CheckpointCorruptError, match="no checkpoint of the run is sound"):
        export(run, tmp_path / "c", which="newest")


@pytest.mark.parametrize("name", [".", "checkpoints/step-00000001"])
def test_a_weight_that_changed_on_the_disk_is_not_exported(run: Path, tmp_path: Path, name: str) -> None:
    """Every key and shape is still right, so only the manifest shows the change."""
    best = run / "checkpoints" / "step-00000001"
    data = bytearray((best / "ema.safetensors").read_bytes())
    data[-1] ^= 1
    (best / "ema.safetensors").write_bytes(data)
    with pytest.raises(CheckpointCorruptError, match=r"ema\.safetensors is truncated or damaged"):
        export(run / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export(run / name, tmp_path / "plain", averaged=False)


def test_a_copy_without_the_optimizer_is_exported(run: Path, tmp_path: Path) -> None:
    copy = (run / "checkpoints" / "step-00000001").rename(tmp_path / "copy")
    (copy / "training.pt").unlink()
    export(copy, tmp_path / "out")


@pytest.mark.parametrize("name", [".", "checkpoints/step-00000001"])
def test_neither_a_run_nor_a_checkpoint_is_exported_over(run: Path, name: str) -> None:
    """The export would replace config.json, which holds the run's settings or is listed in a manifest."""
    (run / "config.json").write_text("{}")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(OutputMismatchError, match=r"config\.json would be lost"):
        export(run, run / name)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", ['{"architectures": ["BertModel"]}', "name = 1", ""])
def test_a_configuration_of_something_else_is_not_exported_over(
    run: Path, content: str, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text(content)
    with pytest.raises(OutputMismatchError, match=r"config\.json would be lost"):
        export(run, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


def test_a_readme_of_somebody_elses_is_not_exported_over(run: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "README.md").write_text("# Our project\n")
    with pytest.raises(OutputMismatchError, match=r"README\.md is no model card"):
        export(run, project)
    assert [path.name for path in project.iterdir()] == ["README.md"]


def test_a_card_keeps_what_somebody_wrote_on_it(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    card = out / "README.md"
    old = export(run, out, license="mit")
    whole = card.read_text()
    words = whole.replace("\n# out\n", "\n# Ours\n\nTrained on our own footage.\n")
    card.write_bytes(words.encode() + b"\xff")
    new = export(run, out, which="newest", dtype="float16", license="mit")
    assert new != old
    assert card.read_bytes() == words.replace(old, new).encode() + b"\xff"
    with pytest.raises(OutputMismatchError, match="--license apache"):
        export(run, out, license="apache-2.0")
    with pytest.raises(OutputMismatchError, match="--name me"):
        export(run, out, name="me/mine")
    assert card.read_bytes() == words.replace(old, new).encode() + b"\xff"
    card.unlink()
    export(run, out, license="mit")
    assert card.read_text() == whole


def test_sixteen_bits_are_half_the_size_and_keep_the_codebook(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "wide")
    export(run, tmp_path / "narrow", dtype="bfloat16", name="me/mine", license="mit")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("wide", "narrow")]
    assert sizes[1] < 0.75 * sizes[0]
    wide, narrow = (load_weights(tmp_path / name).state_dict for name in ("wide", "narrow"))
    assert all(torch.equal(wide[key], narrow[key]) for key in wide if key.startswith("vq."))
    card = (tmp_path / "narrow" / "README.md").read_text()
    assert "license: mit" in card
    assert 'from_pretrained("me/mine")' in card


def test_what_accelerate_saved_is_exported(tiny: CViViTConfig, tmp_path: Path) -> None:
    """The release has this layout: a folder with `pytorch_model.bin`, with other modules and a DDP prefix."""
    model = network(tiny, 5)
    folder = tmp_path / "CViViT"
    save_pretrained(model, folder)
    (folder / "model.safetensors").unlink()
    state = {f"module.{key}": tensor for key, tensor in model.state_dict().items()}
    torch.save(state | {"module.discr.blocks.0.weight": torch.zeros(3)}, folder / "pytorch_model.bin")
    export(folder, tmp_path / "out")
    exported = load_weights(tmp_path / "out").state_dict
    assert all(torch.equal(exported[key], tensor) for key, tensor in model.state_dict().items())


def test_nothing_to_export_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(WeightsNotFoundError, match="holds no checkpoint"):
        export(tmp_path / "run", tmp_path / "out")
    with pytest.raises(WeightsNotFoundError):
        export(tmp_path / "missing", tmp_path / "out")


def test_an_output_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataWriteError, match="file"):
        export(run, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("runs/deno", "no run, checkpoint or file of weights called runs/deno$"),
        ("runs/demo/checkpoints/step-00000010", "no run, checkpoint or file of weights called"),
        ("smoke", r"smoke is a preset, and not weights: name the folder of its run, runs/smoke"),
        (
            "own/run",
            r"called own/run on this machine, and .*: the network",
        ),
    ],
)
def test_a_missing_run_is_called_that(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> hub.Download:
        raise WeightsUnavailableError("the network cannot be reached")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "download", unreachable)
    with pytest.raises(WeightsError, match=message):
        export(source, tmp_path / "out")
