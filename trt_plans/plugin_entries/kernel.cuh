// What the entries beside this file share. Each calls a kernel of engine/kernels, which stands before this text as a
// function, with the parameters that TensorRT passes to a plugin compiled ahead of time: its input pointers, 32-bit
// integers, its output pointers. All tensors are contiguous. SCALAR, CHANNELS_EACH and the plugin's options are defined
// by whoever compiles.

// From -1..1 to pixels along an axis: -1 and 1 are the centres of the outermost pixels (CORNERS) or their outer edges.
__device__ __forceinline__ float pixel_scale(int length) { return 0.5f * (CORNERS ? length - 1 : length); }
__device__ __forceinline__ float pixel_shift(int length) { return 0.5f * (length - 1); }
__device__ __forceinline__ float axis_step(int length) { return length > 1 ? 2.0f / (length - 1) : 0.0f; }
