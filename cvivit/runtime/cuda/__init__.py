"""The network on CUDA: packed weights, Triton kernels, CUDA graphs and transfers that overlap computing."""
