"""Errors mean too little memory, a lost device or a mistake. The messages are those of torch's libraries."""

from __future__ import annotations

import pytest
import torch

from cvivit.runtime.cuda.faults import Fault, fault_of

MESSAGES = {
    Fault.MEMORY: [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
    Fault.LOST: [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
        torch.AcceleratorError("CUDA error: unspecified launch failure"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    ],
    Fault.FORKED: [
        RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, ..."),
    ],
}

UNCLEAR = [
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(...)`"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    torch.AcceleratorError("CUDA error: invalid configuration argument"),
    torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("out of resource: shared memory, Required: 300000, Hardware limit: 232448"),
]


def works() -> None:
    pass


def is_lost() -> None:
    raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(
    ("fault", "error"), [(fault, error) for fault, errors in MESSAGES.items() for error in errors]
)
def test_clear_messages(fault: Fault, error: RuntimeError) -> None:
    assert fault_of(error, works) is fault
    assert fault_of(error, is_lost) is fault


@pytest.mark.parametrize("error", UNCLEAR)
def test_of_unclear_ones_the_device_is_asked(error: RuntimeError) -> None:
    assert fault_of(error, works) is Fault.OTHER
    assert fault_of(error, is_lost) is Fault.LOST


def test_no_memory_for_the_question_is_no_answer() -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    assert fault_of(RuntimeError("some bug"), full) is Fault.OTHER


def test_mistakes_of_python_are_not_the_devices() -> None:
    assert fault_of(TypeError("missing argument: illegal memory access"), is_lost) is Fault.OTHER
