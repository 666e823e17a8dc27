"""What is drawn: panels, maps, strips and charts, by their pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvivit import CViViTConfig
from cvivit.visualizing.atlas import draw_atlas
from cvivit.visualizing.colours import THEMES, ThemeName, code_colours
from cvivit.visualizing.counting import count_codes, paint_codes
from cvivit.visualizing.drawing import MARGIN, PanelRow, enlarged, shortened, text_width, wrapped
from cvivit.visualizing.moving import pair_frames, token_frames
from cvivit.visualizing.saving import save_still
from cvivit.visualizing.strip import MAX_CLIPS, token_strip
from cvivit.visualizing.usage import draw_usage
from tests.cvivit.visualizing.conftest import MakeWindow

LIGHT = THEMES["light"]


def holds(picture: np.ndarray, part: np.ndarray) -> bool:
    """Whether a part is somewhere in a picture, pixel for pixel."""
    height, width = part.shape[:2]
    corners = np.argwhere((picture[: 1 - height or None, : 1 - width or None] == part[0, 0]).all(axis=-1))
    return any(np.array_equal(picture[y : y + height, x : x + width], part) for y, x in corners)


def test_a_pair_shows_both_pictures_as_they_are(make_window: MakeWindow) -> None:
    window = make_window(np.arange(48).reshape(3, 4, 4), frames=4)
    assert window.original is not None
    window = replace(window, original=window.original + 100)
    frames = list(pair_frames([window], LIGHT, scale=2))
    assert len(frames) == 4
    assert window.original is not None
    assert window.decoded is not None
    for index, frame in enumerate(frames):
        assert frame.dtype == np.uint8
        assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
        left, right = frame[:, : frame.shape[1] // 2], frame[:, frame.shape[1] // 2 :]
        assert holds(left, enlarged(window.original[index], (64, 64)))
        assert holds(right, enlarged(window.decoded[index], (64, 64)))


@pytest.mark.parametrize("original", [True, False])
def test_the_map_of_a_frame_is_that_of_its_latent_frame(
    make_window: MakeWindow, tiny: CViViTConfig, original: bool
) -> None:
    window = make_window(np.arange(48).reshape(3, 4, 4), original=original)
    frames = list(token_frames([window], tiny, LIGHT, scale=3))
    for frame, latent in zip(frames, (0, 1, 1, 2, 2), strict=True):
        assert holds(frame, enlarged(code_colours(window.tokens[latent]), (96, 96)))
    panels = 3 if original else 2
    assert frames[0].shape[1] == pytest.approx(panels * (96 + MARGIN) + MARGIN, abs=1)


def test_inputs_with_and_without_pictures(make_window: MakeWindow, tiny: CViViTConfig) -> None:
    mixed = [make_window(1), make_window(2, original=False)]
    frames = list(token_frames(mixed, tiny, LIGHT, scale=2))
    assert len({frame.shape for frame in frames}) == 1
    assert len(frames) == 10
    assert list(token_frames([], tiny, LIGHT, scale=2)) == []


@pytest.mark.parametrize("frames", [1, 5])
def test_a_strip_has_a_map_for_each_latent_frame(
    make_window: MakeWindow, tiny: CViViTConfig, frames: int
) -> None:
    window = make_window(np.arange(48).reshape(3, 4, 4), frames=frames)
    picture = np.asarray(token_strip([window], tiny, LIGHT, scale=2))
    drawn = [holds(picture, enlarged(code_colours(latent), (64, 64))) for latent in window.tokens]
    assert drawn == [True, frames > 1, frames > 1]


def test_a_strip_of_a_long_video_is_bounded(make_window: MakeWindow, tiny: CViViTConfig) -> None:
    taken = []

    def endless() -> Any:
        for number in range(10**6):
            taken.append(number)
            yield make_window(number % 60, number=number)

    image = token_strip(endless(), tiny, LIGHT, scale=1)
    assert len(taken) == MAX_CLIPS + 1
    assert image.height < 3000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_usage_shows_the_codes_that_occur(
    make_window: MakeWindow, tiny: CViViTConfig, theme: ThemeName
) -> None:
    window = make_window(np.arange(48).reshape(3, 4, 4))
    picture = np.asarray(draw_usage(count_codes([window], tiny), 64, THEMES[theme]))
    cell = 420 // 8
    for code in (0, 13, 47):
        assert holds(picture, np.full((cell, cell, 3), code_colours(np.array(code)), np.uint8)), code
    for code in (48, 63):
        colour = np.full((cell, cell, 3), code_colours(np.array(code)), np.uint8)
        assert not holds(picture, colour)
    assert (picture[0, 0] == THEMES[theme].back).all()


@pytest.mark.parametrize("size", [2, 8192, 65536, 2**20, 2**32])
def test_usage_of_codebooks_of_any_size(make_window: MakeWindow, tiny: CViViTConfig, size: int) -> None:
    counts = count_codes([make_window(1), make_window(0)], tiny)
    assert draw_usage(counts, size, LIGHT).width == 960


def test_an_atlas_shows_what_is_painted(make_window: MakeWindow, tiny: CViViTConfig) -> None:
    window = make_window(np.arange(48).reshape(3, 4, 4))
    counts, patches = paint_codes([window], tiny)
    picture = np.asarray(draw_atlas(counts, patches, 64, LIGHT, most=20))
    for code in (0, 19):
        square = np.empty((56, 56, 3), np.uint8)
        square[:] = code_colours(np.array(code))
        square[4:-4, 4:-4] = code
        assert holds(picture, square), code
    assert not holds(picture, np.full((48, 48, 3), 20, np.uint8))


def test_names_of_any_length_fit() -> None:
    row = PanelRow(("a label that is wider than its panel", "b"), (8, 8), LIGHT)
    black = np.zeros((8, 8, 3), np.uint8)
    drawn = row.draw((black, black), "x" * 5000 + "\u6620\u50cf.mp4", "a note of some length")
    assert drawn.shape[1] == row.width
    assert text_width(shortened("folder/" * 100 + "clip.mp4", 120, 15), 15) <= 120
    assert shortened("folder/" * 100 + "clip.mp4", 120, 15).endswith("clip.mp4")
    assert wrapped("one two three", 1, 15) == ["one", "two", "three"]


@pytest.mark.parametrize("name", ["a.png", "A.WEBP"])
def test_stills_are_written_without_loss_and_as_a_whole(name: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    save_still(Image.fromarray(noise), tmp_path / name)
    assert np.array_equal(np.asarray(Image.open(tmp_path / name)), noise)
    with pytest.raises(OSError, match="cannot write"):
        save_still(Image.new("F", (2, 2)), tmp_path / "kept.png")
    assert [path.name for path in tmp_path.iterdir()] == [name]
