"""Which device "auto" chooses, on machines that the tests describe."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
import torch

from cvivit.runtime.cuda.choosing import choose_cuda, why_unsupported
from cvivit.runtime.precision import choose_device, choose_precision

GIB = 2**30
WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


@dataclass(frozen=True)
class Card:
    capability: tuple[int, int] = (9, 0)
    free: int | None = 80 * GIB


def install(monkeypatch: pytest.MonkeyPatch, *cards: Card) -> None:
    def memory(index: int) -> tuple[int, int]:
        if (free := cards[index].free) is None:
            raise torch.AcceleratorError("CUDA error: all CUDA-capable devices are busy or unavailable")
        return free, 80 * GIB

    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cards))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: WHEEL)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_capability",
        lambda device: cards[device if isinstance(device, int) else device.index].capability,
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", memory)


@pytest.mark.parametrize(
    ("capability", "supported"),
    [((7, 0), False), ((7, 5), True), ((8, 9), True), ((9, 0), True), ((12, 1), True), ((13, 0), True)],
)  # fmt: skip
def test_which_devices_a_build_supports(capability: tuple[int, int], supported: bool) -> None:
    assert (why_unsupported(capability, WHEEL) is None) is supported


def test_letters_after_an_architecture() -> None:
    assert why_unsupported((9, 0), ["sm_90a"]) is None


def test_the_freest_is_taken(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    install(monkeypatch, Card(free=10 * GIB), Card(free=70 * GIB), Card((7, 0), 80 * GIB), Card(free=None))
    assert choose_cuda() == torch.device("cuda", 1)
    assert choose_device("auto") == torch.device("cuda", 1)
    assert not caplog.records


@pytest.mark.parametrize(
    ("card", "word"), [(Card((7, 0)), "sm_70"), (Card(free=GIB), "1.0 GiB"), (Card(free=None), "unavailable")]
)
def test_else_the_cpu_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, card: Card, word: str
) -> None:
    install(monkeypatch, card, card)
    with caplog.at_level(logging.WARNING):
        assert choose_device("auto", needed_bytes=2 * GIB) == torch.device("cpu")
    assert len(caplog.records) == 1
    assert word in caplog.text
    assert "cuda:0" in caplog.text
    assert "cuda:1" in caplog.text


def test_without_a_device_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch)
    assert choose_device("auto") == torch.device("cpu")
    assert not caplog.records


def test_a_device_that_is_named_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Card(free=GIB), Card())
    assert choose_device("cuda:0", needed_bytes=2 * GIB) == torch.device("cuda", 0)


def test_an_unsupported_device_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Card((7, 0)))
    with pytest.raises(ValueError, match="sm_70"):
        choose_device("cuda:0")


def test_fast_needs_a_device_with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Card((7, 5)), Card((8, 0)))
    old, new = torch.device("cuda", 0), torch.device("cuda", 1)
    assert choose_precision("auto", old) == "exact"
    with pytest.raises(ValueError, match="sm_80"):
        choose_precision("fast", old)
    assert choose_precision("fast", new) == choose_precision("auto", new) == "fast"
