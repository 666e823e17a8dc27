"""Triton kernels, one file each, registered as torch operators under `torch.ops.cvivit`.

Importing this package needs Triton, which wheels of torch for CUDA bring along. Each file holds the kernel,
the plan of a launch (constants, warps, stages), and the operator, which also says what it returns for fake
tensors.

Shape letters are those of `cvivit.config`; in addition `r` are rows, one per latent place, `i j` the two axes
that rows are counted by besides the batch, and `p` the values of a patch.
"""
