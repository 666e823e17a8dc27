"""Choose the Triton kernels, or the plain modules if the kernels are missing or wrong.

The kernels were written for devices that their authors did not have at hand, and run on compilers and drivers
of many versions. So they are compared with the plain modules on the device itself before they compute a
user's clips. If anything goes wrong, the log says so, and the plain modules compute instead.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import torch

from cvivit.network import CViViT
from cvivit.runtime.base import Kernels, KernelsChoice
from cvivit.runtime.cuda.comparing import compare, example
from cvivit.runtime.cuda.faults import Fault, fault_of
from cvivit.runtime.cuda.plain import PlainNetwork
from cvivit.runtime.precision import Precision, arithmetic

if TYPE_CHECKING:
    from cvivit.runtime.cuda.network import PackedNetwork

logger = logging.getLogger(__name__)

COMPILERS: Final = ("cc", "gcc", "clang")


def why_unavailable(choice: KernelsChoice, precision: Precision, device: torch.device) -> str | None:
    """Return why the kernels cannot or shall not be used, or None if they can be tried."""
    if choice == "plain":
        return "the setting asks for the plain modules"
    if precision == "exact":
        return "exact computes with the plain modules in float32"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if device.type == "cuda" and not _has_compiler():
        return f"there is no C compiler ({', '.join(COMPILERS)}), which Triton needs to launch kernels"
    return None


def _has_compiler() -> bool:
    named = os.environ.get("CC")
    return any(shutil.which(name) for name in ((named,) if named else COMPILERS))


class KernelSelection:
    """Chooses between kernels and plain modules, once for each runner.

    Args:
        choice: "auto", or "plain" for the plain modules.
        model: the network. Its weights are copied.
        device: a CUDA device, or the CPU with Triton's interpreter.
        precision: the precision of the runner.
        dtype: the type of the products.
    """

    def __init__(
        self,
        choice: KernelsChoice,
        model: CViViT,
        device: torch.device,
        precision: Precision,
        dtype: torch.dtype,
    ) -> None:
        self._device = device
        self._packed: PackedNetwork | None = None
        self._model: CViViT | None = None
        """What the kernels are compared with, until they are."""
        self.kernels = Kernels("plain", why_unavailable(choice, precision, device))
        """What computes. Before the comparison it is the plain modules without a reason."""
        if self.kernels.reason is None:
            try:
                from cvivit.runtime.cuda.network import PackedNetwork

                self._packed = PackedNetwork(model, device, dtype)
                self._model = copy.deepcopy(model)
            except Exception as error:  # the plain modules compute, whatever the error is
                self.fall_back(error)
        elif precision == "fast":
            logger.warning("the plain modules compute: %s", self.kernels.reason)

    @property
    def network(self) -> PackedNetwork | None:
        """The network on the kernels, if they compute."""
        return self._packed if self.kernels.name == "triton" else None

    def check(self, plain: PlainNetwork, probe: Callable[[], None]) -> None:
        """Compare the kernels with the plain modules, once, and use them if they agree.

        Raises:
            RuntimeError: the device is lost.
        """
        model, self._model = self._model, None
        if model is None or self._packed is None:
            return
        try:
            with arithmetic("fast", self._device):
                exact = PlainNetwork(model, self._device, torch.float32)
                found = compare(self._packed, plain, exact, example(model.config, self._device))
        except Exception as error:  # a compiler's errors have many classes
            if fault_of(error, probe) is Fault.LOST:
                raise
            self.fall_back(error)
        else:
            if found.agrees:
                self.kernels = Kernels("triton")
                logger.info("Triton kernels compute: %s", found)
            else:
                self.fall_back(f"the kernels disagree with the plain modules: {found}")

    def fall_back(self, reason: Exception | str) -> None:
        """Let the plain modules compute from now on, and say why in the log."""
        self._packed = self._model = None
        if isinstance(reason, Exception):
            # The reason may be shown to clients, and the message of a library may contain a path.
            said = f"the kernels failed with {type(reason).__name__}"
            logger.warning("the plain modules compute: %s: %s", said, reason)
        else:
            said = reason
            logger.warning("the plain modules compute: %s", said)
        self.kernels = Kernels("plain", said)
