"""Choose the CUDA device with the most free memory among those that torch supports."""

from __future__ import annotations

import logging
import re

import torch

logger = logging.getLogger(__name__)

OLDEST_FAST = (8, 0)
"""From this generation on (A100) a device multiplies bfloat16 on tensor cores."""


def why_unsupported(capability: tuple[int, int], architectures: list[str]) -> str | None:
    """Return why a build of torch cannot run on a device, or None if it can.

    Machine code (sm_80) runs on devices of the same major version from that minor version on, and portable
    code (compute_80) on every newer one.

    Args:
        capability: the capability of the device, such as (9, 0).
        architectures: what the build was compiled for, as `torch.cuda.get_arch_list` says it.
    """
    major, minor = capability
    for name in architectures:
        if match := re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name):
            built = int(match[2]), int(match[3])
            if match[1] == "compute" and built <= capability:
                return None
            if match[1] == "sm" and built[0] == major and built[1] <= minor:
                return None
    return f"this build of torch has no kernels for sm_{major}{minor}"


def choose_cuda(needed_bytes: int = 0) -> torch.device | None:
    """Return the supported device with the most free memory. If none is left, warn once and return None.

    Args:
        needed_bytes: what weights and a batch take. A device with less than this free is passed over.
    """
    if not torch.cuda.is_available():
        return None
    architectures, reasons, free = torch.cuda.get_arch_list(), [], {}
    for index in range(torch.cuda.device_count()):
        reason = why_unsupported(torch.cuda.get_device_capability(index), architectures)
        if reason is None:
            try:
                free[index] = torch.cuda.mem_get_info(index)[0]
            except RuntimeError:  # another process uses it exclusively, or it is broken
                reason = "it is unavailable"
            else:
                if free[index] < needed_bytes:
                    gib = 2**30
                    reason = f"{free.pop(index) / gib:.1f} GiB are free and {needed_bytes / gib:.1f} needed"
        if reason is not None:
            reasons.append(f"cuda:{index}: {reason}")
    if free:
        return torch.device("cuda", max(free, key=lambda index: free[index]))
    logger.warning("no CUDA device can be used, so the CPU computes: %s", "; ".join(reasons))
    return None
