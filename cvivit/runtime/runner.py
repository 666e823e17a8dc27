"""The runner: the network on one device, as the tokenizer and the service's engine use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch

from cvivit.network import CViViT
from cvivit.runtime.arrays import Clips
from cvivit.runtime.base import Kernels, KernelsChoice
from cvivit.runtime.cpu.runner import CPURunner
from cvivit.runtime.memory import activation_bytes
from cvivit.runtime.precision import Precision, PrecisionChoice, choose_device


class Runner(Protocol):
    """Runs clips through one network on one device, in batches of a few fixed sizes.

    With precision "exact", a clip's tokens are bit-identical whatever else is in its batch. With "fast", the
    transformers compute in bfloat16, and the quantizer's lookup stays float32.

    A runner takes a copy of the weights: later changes to the model do not reach it. Several threads may
    call it, and their calls run one after another.
    """

    @property
    def device(self) -> torch.device:
        """The device that computes."""

    @property
    def precision(self) -> Precision:
        """The precision that is used: "exact" or "fast"."""

    @property
    def batch_sizes(self) -> Sequence[int]:
        """How many clips are computed at once, in rising order. Sizes that do not fit are removed."""

    @property
    def kernels(self) -> Kernels | None:
        """Which kernels `warm_up` chose for the steps between the products on a CUDA device, or None."""

    def warm_up(self) -> None:
        """Run every batch size once in each direction, so that no later call pays for it.

        Raises:
            DeviceMemoryError: not even the smallest size fits.
            DeviceLostError: the device failed.
        """

    def encode_clips(self, clips: Clips, /) -> Clips:
        """Return the tokens of clips.

        Args:
            clips: uint8 `n f h w c`, an array or a tensor on any device. f is 1 + a multiple of the temporal
                patch, and h and w are multiples of the patch.

        Returns:
            `n T H W`. For an array this is a uint16 array (uint32 for more than 65,536 codes), and for a
            tensor an int64 tensor on the CPU.

        Raises:
            TypeError: `clips` is neither an array nor a tensor.
            ValueError: `clips` is not uint8, or the patches do not divide its shape.
            DeviceMemoryError: a single clip does not fit in the device's memory.
            DeviceLostError: the device failed.
        """

    def decode_clips(self, indices: Clips, /) -> Clips:
        """Return the clips of tokens.

        Args:
            indices: integers of any type `n T H W`, an array or a tensor on any device.

        Returns:
            uint8 `n f h w c`, rounded and clipped to [0, 255]: an array for an array, and a tensor on the
            CPU for a tensor.

        Raises:
            TypeError: `indices` is neither an array nor a tensor.
            ValueError: `indices` are not integers, or do not have four axes.
            TokenRangeError: a token is outside the codebook.
            DeviceMemoryError: a single clip does not fit in the device's memory.
            DeviceLostError: the device failed.
        """


@runtime_checkable
class SubmittingRunner(Runner, Protocol):
    """A runner that can be given a batch while it computes another one: an optional ability.

    `CUDARunner` has it, so that a caller who submits two batches before waiting for the first never lets the
    device wait for Python. Calls are computed in the order of submission. One thread may submit while another
    waits. On a CPU a second batch would only compete with the first, so `CPURunner` does not have it.
    """

    def submit_encode(self, clips: Clips, /) -> Callable[[], Clips]:
        """Send clips to the device without waiting, and return what waits for their tokens.

        The two calls together do what `encode_clips` does. The second may be made once. Either may raise what
        that raises, each for its own clips alone unless the device is lost.
        """

    def submit_decode(self, indices: Clips, /) -> Callable[[], Clips]:
        """Send tokens to the device without waiting, and return what waits for their clips.

        The two calls together do what `decode_clips` does, with errors as those of `submit_encode`.
        """


def make_runner(
    model: CViViT,
    *,
    device: str | torch.device = "auto",
    precision: PrecisionChoice = "auto",
    kernels: KernelsChoice = "auto",
) -> Runner:
    """Return the runner for a device.

    Args:
        model: the network. Its weights are copied.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "exact", "fast", or "auto", which is fast where the hardware has bfloat16.
        kernels: "auto" lets Triton kernels compute on a CUDA device where they agree with the plain modules,
            and "plain" does not.

    Raises:
        ValueError: there is no such device, precision or choice of kernels.
        DeviceMemoryError: the weights alone do not fit on the device.
        DeviceLostError: the device failed.
    """
    chosen = choose_device(device, needed_bytes=_needed_bytes(model))
    if chosen.type == "cpu":
        return CPURunner(model, precision=precision)
    from cvivit.runtime.cuda.runner import CUDARunner  # machines without CUDA need none of this

    return CUDARunner(model, device=chosen, precision=precision, kernels=kernels)


def _needed_bytes(model: CViViT) -> int:
    """Return roughly what a device needs: the weights twice, and the activations of one clip."""
    weights = sum(weight.numel() for weight in model.parameters())
    return 4 * 2 * weights + activation_bytes(model.config)
