// Bilinear samples of maps at a grid of positions.

#include "sampling.cuh"

// Channels apart (NCHW or any strides). A thread finds a position's neighbours once, for `channels_each` channels:
// per channel are then left 4 loads, which mostly hit the cache, and 1 store, coalesced along x. What must move is
// input + grid + output once; the unrolled loop keeps 16 loads of a thread in flight to hide their latency.
extern "C" __global__ void __launch_bounds__(256, 4) grid_sample_2d_planes(
    const SCALAR* __restrict__ input, const float* __restrict__ grid, SCALAR* __restrict__ output,
    int batch, int channels, int height, int width, int out_height, int out_width,
    long long input_n, long long input_c, long long input_y, long long input_x,
    long long grid_n, long long grid_y, long long grid_x, long long grid_axis,
    long long output_n, long long output_c, long long output_y, long long output_x,
    float scale_x, float shift_x, float scale_y, float shift_y, int border, int channels_each
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    if (x >= out_width) return;
    const int chunks = (channels - 1) / channels_each + 1;
    for (long long y = blockIdx.y * blockDim.y + threadIdx.y; y < out_height; y += gridDim.y * blockDim.y) {
        for (long long z = blockIdx.z; z < (long long)batch * chunks; z += gridDim.z) {
            const long long n = z / chunks;
            const int first = (int)(z % chunks) * channels_each;
            const int last = min(channels, first + channels_each);
            const float* at = grid + n * grid_n + y * grid_y + x * grid_x;
            const Corners<4> from = corners(
                taps(at[0] * scale_x + shift_x, width, border),
                taps(at[grid_axis] * scale_y + shift_y, height, border), input_x, input_y
            );
            const SCALAR* plane = input + n * input_n;
            SCALAR* place = output + n * output_n + y * output_y + x * output_x;
#pragma unroll 4
            for (int c = first; c < last; ++c) store(place + c * output_c, gathered(plane + c * input_c, from));
        }
    }
}

// Channels together (NHWC): neighbouring threads take neighbouring channels, so that each of a position's 4 pixels is
// read in whole lines, 16 bytes a thread where alignment allows (`packed`).
extern "C" __global__ void __launch_bounds__(256, 4) grid_sample_2d_pixels(
    const SCALAR* __restrict__ input, const float* __restrict__ grid, SCALAR* __restrict__ output,
    int batch, int channels, int height, int width, int out_height, int out_width,
    long long input_n, long long input_y, long long input_x,
    long long grid_n, long long grid_y, long long grid_x, long long grid_axis,
    long long output_n, long long output_y, long long output_x,
    float scale_x, float shift_x, float scale_y, float shift_y, int border, int packed
) {
    const int x = blockIdx.x * blockDim.y + threadIdx.y;
    if (x >= out_width) return;
    for (long long y = blockIdx.y; y < out_height; y += gridDim.y) {
        for (long long n = blockIdx.z; n < batch; n += gridDim.z) {
            const float* at = grid + n * grid_n + y * grid_y + x * grid_x;
            const Corners<4> from = corners(
                taps(at[0] * scale_x + shift_x, width, border),
                taps(at[grid_axis] * scale_y + shift_y, height, border), input_x, input_y
            );
            gather_channels(
                input + n * input_n, from, output + n * output_n + y * output_y + x * output_x, channels, packed,
                threadIdx.x, blockDim.x
            );
        }
    }
}
