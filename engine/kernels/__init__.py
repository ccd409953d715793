"""CUDA kernels: per kernel one source (`*.cu`), one wrapper, one reference in torch, all three named alike.

A wrapper is a function of torch tensors. For tensors on a GPU it runs the kernel through CuPy, on torch's current
stream, in the tensors' own memory; for tensors on the processor it computes the reference. `engine.kernels.host` runs
the same sources on the processor, thread by thread: that is how they are checked without a GPU.

What holds for all of them: coordinates and sums are float32, whatever the pixels are; a tensor's strides are followed,
nothing is copied unless the wrapper says so; results are the same in every run; gradients are not computed. An array of
CuPy comes in as `torch.from_dlpack(array)` and goes out as `cupy.from_dlpack(tensor)`, neither with a copy.
"""
