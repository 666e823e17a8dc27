"""The pictures of a GIF are shown for as long as browsers show them."""

from __future__ import annotations

import struct

import pytest

from cvivit.video import ClipFormat, read_frames
from cvivit.video.inspecting import inspect_video

SIZE = 16
HEADER = struct.pack("<6sHHBBB", b"GIF89a", SIZE, SIZE, 0xF0, 0, 0) + b"\x00\x00\x00\xff\xff\xff"
COMMENT = b"\x21\xfe\x05hello\x00"
TRAILER = b";"


def picture(colour: int) -> bytes:
    """Return a picture of one of two colours, in codes of three bits that are never longer."""
    codes = [4, colour] * (SIZE * SIZE) + [5]
    bits = sum(code << 3 * place for place, code in enumerate(codes))
    data = bits.to_bytes(3 * len(codes) // 8 + 1, "little")
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    header = struct.pack("<BHHHHBB", 0x2C, 0, 0, SIZE, SIZE, 0, 2)
    return header + b"".join(bytes([len(block)]) + block for block in blocks) + b"\x00"


def control(delay: int) -> bytes:
    return struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 0, delay, 0, 0)


def gif(*delays: int | None) -> bytes:
    """Return a GIF of black and white pictures in turn. None: a picture that says nothing of its delay."""
    parts = (
        (b"" if delay is None else control(delay)) + picture(index % 2) for index, delay in enumerate(delays)
    )
    return HEADER + b"".join(parts) + TRAILER


def shown(data: bytes) -> list[int]:
    """Return for how many hundredths of a second each picture is shown, where neighbours differ."""
    levels = []
    for threads in (1, 0, 16):
        pictures = read_frames(data, ClipFormat(fps=100, image_size=(8, 8)), threads=threads)
        levels.append([picture.mean() > 128 for picture in pictures])
    assert levels == levels[:1] * len(levels)
    runs = [0]
    for before, after in zip(levels[0], levels[0][1:] + levels[0][-1:], strict=True):
        runs[-1] += 1
        if before != after:
            runs.append(0)
    return runs


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        ((0, 0, 0), [10, 10, 10]),
        ((1, 1, 1), [10, 10, 10]),
        ((2, 3, 50), [2, 3, 50]),
        ((20, 0, 1, 5), [20, 10, 10, 5]),
        ((5, 5, 0), [5, 5, 10]),
        ((1,), [10]),
        ((None, None, None), [10, 10, 10]),
        ((20, None, 30, None), [20, 10, 30, 10]),
        ((None, None, 20, None), [10, 10, 20, 10]),
        ((None, 20, None, None), [10, 20, 10, 10]),
    ],
)
def test_delays_that_browsers_do_not_believe(delays: tuple[int | None, ...], expected: list[int]) -> None:
    assert shown(gif(*delays)) == expected


def test_pictures_without_an_extension_are_all_read() -> None:
    report = inspect_video(gif(None, None, None, None), ClipFormat(fps=10))
    assert [one.source_time for one in report.picked] == pytest.approx([0, 0.1, 0.2, 0.3])
    old = gif(None, None, None, None).replace(b"GIF89a", b"GIF87a")
    assert shown(old) == [10, 10, 10, 10]


@pytest.mark.parametrize("at", ["before", "between", "end"])
def test_comments_take_no_time(at: str) -> None:
    before, between = COMMENT * (at == "before"), COMMENT * (at == "between")
    parts = (before + control(5) + between + picture(index % 2) for index in range(3))
    assert shown(HEADER + b"".join(parts) + COMMENT * (at == "end") + TRAILER) == [5, 5, 5]


def test_the_delay_of_a_picture_that_is_missing_takes_no_time() -> None:
    assert shown(gif(5, 5)[:-1] + control(40) + TRAILER) == [5, 5]
