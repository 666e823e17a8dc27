from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from training.data import ClipEpoch, ClipLoader, SkippedSample, StreamSettings
from training.errors import CheckpointMismatchError, DataError, TooManyBadSamplesError
from training.run.batch import Batch

# torch warns about more workers than cores. These tests need many workers, not fast ones.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

Write = Callable[..., Path]
Clip = Callable[..., bytes]
Still = Callable[[int], bytes]


def settings(shards: list[str], **changes: object) -> StreamSettings:
    base = StreamSettings(
        clips=tuple(shards), batch_size=2, clip_frames=5, image_size=(16, 16), shuffle=4, max_bad_samples=20
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def greys(batches: list[Batch]) -> list[int]:
    return [int(key.rsplit("#g", 1)[1]) for batch in batches for key in batch.keys]


def first_epoch(loader: ClipLoader) -> list[Batch]:
    """Return the batches of an epoch. For a reader it is over when its first clip of the next one comes."""
    batches: list[Batch] = []
    for batch in loader:
        if loader.epoch > 0:
            break
        batches.append(batch)
    return batches


def assert_same(left: Batch, right: Batch) -> None:
    assert left.keys == right.keys
    assert torch.equal(left.video, right.video)


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_has_every_sample_once(shards: list[str], world_size: int, workers: int) -> None:
    views = [
        ClipEpoch(settings(shards), rank=rank, world_size=world_size, workers=workers)
        for rank in range(world_size)
    ]
    assert Counter(greys([batch for view in views for batch in view if isinstance(batch, Batch)])) == Counter(
        range(10, 260, 10)
    )


@pytest.mark.parametrize("world_size", [1, 2, 4, 16])
def test_training_has_every_sample_once_an_epoch(shards: list[str], world_size: int) -> None:
    loaders = [
        ClipLoader(settings(shards, batch_size=1), rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert sorted(greys([batch for loader in loaders for batch in first_epoch(loader)])) == list(
        range(10, 260, 10)
    )


def test_batches_are_pixels_with_their_keys(shards: list[str]) -> None:
    for batch in islice(ClipLoader(settings(shards)), 20):
        assert batch.video.shape == (2, 5, 16, 16, 3)
        assert batch.video.dtype == torch.uint8
        assert [int(clip.float().mean()) for clip in batch.video] == greys([batch])


def test_epochs_have_different_orders_and_runs_the_same(shards: list[str]) -> None:
    first, again = (greys(list(islice(ClipLoader(settings(shards, batch_size=5)), 10))) for _ in range(2))
    other_seed = greys(list(islice(ClipLoader(settings(shards, batch_size=5, seed=1)), 10)))
    assert first == again
    assert first != other_seed
    assert first[:25] != first[25:]
    assert sorted(first[:25]) == sorted(first[25:])


def test_the_buffer_mixes_samples_of_several_shards(shards: list[str]) -> None:
    batch = next(iter(ClipLoader(settings(shards, batch_size=5, shuffle=25))))
    assert len({key.rsplit("#", 1)[0] for key in batch.keys}) > 1


@pytest.mark.parametrize(("workers", "taken"), [(0, 0), (0, 1), (0, 5), (0, 14), (0, 31), (2, 0), (2, 7)])
def test_resumes_at_the_next_batch(shards: list[str], workers: int, taken: int) -> None:
    options = settings(shards, flip=0.5, crop_scale=(0.5, 1.0))
    straight = ClipLoader(options, workers=workers)
    expected = list(islice(straight, taken + 12))[taken:]

    stopped = ClipLoader(options, workers=workers)
    for _ in islice(stopped, taken):
        pass
    state = json.loads(json.dumps(stopped.state_dict()))

    resumed = ClipLoader(options, workers=workers)
    resumed.load_state_dict(state)
    for left, right in zip(expected, islice(resumed, 12), strict=True):
        assert_same(left, right)
    assert resumed.state_dict() == straight.state_dict()


def test_another_topology_or_data_is_refused_unless_allowed(shards: list[str]) -> None:
    loader = ClipLoader(settings(shards))
    list(islice(loader, 3))
    state = loader.state_dict()
    with pytest.raises(CheckpointMismatchError, match="saved with other world_size"):
        ClipLoader(settings(shards), world_size=2).load_state_dict(state)
    with pytest.raises(CheckpointMismatchError, match="saved with other shards"):
        ClipLoader(settings(shards[1:])).load_state_dict(state)

    allowed = ClipLoader(settings(shards), world_size=2, allow_topology_change=True)
    allowed.load_state_dict(state)
    assert allowed.epoch == 1
    assert len(next(iter(allowed)).video) == 2


def test_a_moved_folder_resumes(shards: list[str], tmp_path: Path) -> None:
    loader = ClipLoader(settings(shards))
    list(islice(loader, 3))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = [str(Path(shard).rename(elsewhere / Path(shard).name)) for shard in shards]
    resumed = ClipLoader(settings(moved))
    resumed.load_state_dict(loader.state_dict())
    assert len(list(islice(resumed, 20))) == 20


def test_bad_samples_are_counted_and_skipped(write_shard: Write, grey_clip: Clip) -> None:
    good = write_shard(
        "a.tar", {"g010.mp4": grey_clip(10), "bad.mp4": b"no video", "g020.mp4": grey_clip(20)}
    )
    short = write_shard("b.tar", {"g030.mp4": grey_clip(30, frames=4), "g040.mp4": grey_clip(40)})
    cut = write_shard("c.tar", {"g050.mp4": grey_clip(50), "g060.mp4": grey_clip(60)})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    loader = ClipLoader(settings([str(good), str(short), str(cut)], batch_size=1, shuffle=100))
    seen = greys(first_epoch(loader))
    assert {10, 20, 40} <= set(seen) <= {10, 20, 40, 50}
    assert set(loader.bad_samples) == {"invalid_sample", "invalid_shard"}


def test_counts_of_bad_samples_survive_a_resume(write_shard: Write, grey_clip: Clip) -> None:
    cut = write_shard("a.tar", {f"g{n:03d}.mp4": grey_clip(n) for n in range(10, 110, 10)})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    options = settings([str(cut)], batch_size=1, shuffle=3)
    straight = ClipLoader(options)
    for taken in range(1, 12):
        list(islice(straight, 1))
        resumed = ClipLoader(options)
        resumed.load_state_dict(straight.state_dict())
        uninterrupted = ClipLoader(options)
        list(islice(uninterrupted, taken))
        assert resumed.bad_samples == uninterrupted.bad_samples
    assert straight.bad_samples["invalid_shard"] > 1


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_bad_samples_stop(write_shard: Write, workers: int) -> None:
    shard = write_shard("a.tar", {f"{n}.mp4": b"no video" for n in range(5)})
    loader = ClipLoader(settings([str(shard)], max_bad_samples=3), workers=workers)
    with pytest.raises(TooManyBadSamplesError, match=r"^4 bad samples in an epoch are .*a\.tar#") as raised:
        next(iter(loader))
    assert "\n" not in str(raised.value)
    assert (raised.value.limit, raised.value.actual) == (3, 4)


def test_a_few_bad_samples_do_not_end_a_run_of_many_epochs(write_shard: Write, grey_clip: Clip) -> None:
    shard = write_shard(
        "a.tar", {"g010.mp4": grey_clip(10), "bad.mp4": b"no video", "g020.mp4": grey_clip(20)}
    )
    options = settings([str(shard)], batch_size=1, max_bad_samples=1)
    loader = ClipLoader(options)
    list(islice(loader, 20))
    assert loader.bad_samples["invalid_sample"] >= 9
    resumed = ClipLoader(options)
    resumed.load_state_dict(loader.state_dict())
    list(islice(resumed, 20))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_tells_what_it_skipped(write_shard: Write, grey_clip: Clip, workers: int) -> None:
    names = ("first", "g010", "short", "g020", "last")
    clips = {"g010": grey_clip(10), "g020": grey_clip(20), "short": grey_clip(30, frames=3)}
    files = {f"{name}.mp4": clips.get(name, b"no video") for name in names}
    mixed, junk = write_shard("a.tar", files), write_shard("b.tar", {"bad.mp4": b"no video"})
    cut = write_shard("c.tar", {f"g{grey:03d}.mp4": grey_clip(grey) for grey in (40, 50, 60)})
    cut.write_bytes(cut.read_bytes().rstrip(b"\0")[:-50])
    epoch = ClipEpoch(settings([str(mixed), str(junk), str(cut)], batch_size=2), workers=workers)
    for _ in range(2):
        items = list(epoch)
        assert sorted(greys([item for item in items if isinstance(item, Batch)])) == [10, 20, 40]
        skipped = [item for item in items if isinstance(item, SkippedSample)]
        bad = [f"{mixed}#{name}" for name in ("first", "last", "short")]
        assert sorted(one.source for one in skipped) == [*bad, f"{junk}#bad", str(cut)]
        assert f"{mixed}#short: 3 frames are fewer than 5" in map(str, skipped)


def test_bad_samples_alone_stop_in_the_end(write_shard: Write) -> None:
    shard = write_shard("a.tar", {"bad.mp4": b"no video"})
    with pytest.raises(TooManyBadSamplesError):
        next(iter(ClipLoader(settings([str(shard)], max_bad_samples=3))))


@pytest.mark.slow
def test_a_worker_that_dies_is_one_line(shards: list[str]) -> None:
    batches = iter(ClipLoader(settings(shards), workers=1))
    next(batches)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"^a worker process that reads clips died"):
        list(islice(batches, 100))


def test_missing_shards_stop_past_the_ceiling(tmp_path: Path) -> None:
    with pytest.raises(TooManyBadSamplesError, match="no such file"):
        next(iter(ClipLoader(settings([str(tmp_path / "gone.tar")]))))


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_stills_have_their_share_of_batches_at_the_same_steps(
    shards: list[str], write_shard: Write, grey_still: Still, ratio: float
) -> None:
    stills = write_shard("s.tar", {f"g{n:03d}.png": grey_still(n) for n in range(100, 108)})
    options = settings(shards, stills=(str(stills),), stills_ratio=ratio)
    kinds = []
    for rank in range(2):
        batches = list(islice(ClipLoader(options, rank=rank, world_size=2), 16))
        kinds.append([batch.video.shape[1] for batch in batches])
        assert all("s.tar" in key for batch in batches if batch.video.shape[1] == 1 for key in batch.keys)
    assert kinds[0] == kinds[1]
    assert kinds[0].count(1) == 16 * ratio


def test_stills_resume(shards: list[str], write_shard: Write, grey_still: Still) -> None:
    stills = write_shard("s.tar", {f"g{n:03d}.png": grey_still(n) for n in range(100, 108)})
    options = settings(shards, stills=(str(stills),), stills_ratio=0.5)
    straight = list(islice(ClipLoader(options), 12))
    stopped = ClipLoader(options)
    list(islice(stopped, 5))
    resumed = ClipLoader(options)
    resumed.load_state_dict(stopped.state_dict())
    for left, right in zip(straight[5:], islice(resumed, 7), strict=True):
        assert_same(left, right)


def test_long_clips_give_random_windows_and_large_ones_random_crops(write_shard: Write, ramp: bytes) -> None:
    shard = write_shard("a.tar", {"g001.mp4": ramp})
    batches = list(islice(ClipLoader(settings([str(shard)], batch_size=1, crop_scale=(0.5, 1.0))), 16))
    assert all(batch.video.shape == (1, 5, 16, 16, 3) for batch in batches)
    assert len({int(batch.video[0, 0, 0, 0, 0]) for batch in batches}) > 3
    assert len({int(batch.video[0, 0, 0, 0, 1]) for batch in batches}) > 3

    (held_out,) = ClipEpoch(settings([str(shard)]))
    assert isinstance(held_out, Batch)
    assert int(held_out.video[0, 0, 0, 0, 0]) == 0


@pytest.mark.parametrize(("chance", "directions"), [(0.0, {1}), (1.0, {-1}), (0.5, {1, -1})])
def test_flips_by_chance(write_shard: Write, ramp: bytes, chance: float, directions: set[int]) -> None:
    shard = write_shard("a.tar", {"g001.mp4": ramp})
    batches = islice(ClipLoader(settings([str(shard)], batch_size=1, flip=chance)), 16)
    rows = [batch.video[0, 0, 0, :, 1].int() for batch in batches]
    assert {int(torch.sign(row[-1] - row[0])) for row in rows} == directions


def test_what_a_sample_becomes_does_not_depend_on_who_reads_it(shards: list[str]) -> None:
    options = settings(shards, batch_size=1, flip=0.5, crop_scale=(0.3, 1.0))
    alone = {batch.keys: batch.video for batch in first_epoch(ClipLoader(options))}
    ranks = [ClipLoader(options, rank=rank, world_size=2) for rank in range(2)]
    together = {batch.keys: batch.video for loader in ranks for batch in first_epoch(loader)}
    assert alone.keys() == together.keys()
    assert all(torch.equal(alone[key], together[key]) for key in alone)
