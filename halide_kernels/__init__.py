"""Kernels of custom layers, each four ways that a test holds equal.

One module per kernel. Its NumPy function is the definition: slow, and obvious. Halide computes it on the CPU, from an
algorithm and a schedule in Python that are compiled on first use; CUDA on a GPU, from a source that CuPy compiles.
Where a kernel has a gradient, that too, checked against finite differences. `backend` picks the fastest one there is: a
missing Halide or CuPy costs speed and nothing else, and the layer that uses the kernel says which one it runs on.

Random numbers are no generator's: a kernel hashes a key and the place that it draws for, in 32-bit integers, so that
every back end, any order and any number of threads see the same bits, and the state to resume from is one counter.
"""
