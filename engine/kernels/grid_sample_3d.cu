// Trilinear samples of volumes at a grid of positions.

#include "sampling.cuh"

// As grid_sample_2d_planes, but its loop is not unrolled: a channel alone has 8 loads in flight, and a second one's
// would not fit 64 registers on four of the seven architectures. Rows are counted on over all slices:
// row = slice * out_height + y.
extern "C" __global__ void __launch_bounds__(256, 4) grid_sample_3d_planes(
    const SCALAR* __restrict__ input, const float* __restrict__ grid, SCALAR* __restrict__ output,
    int batch, int channels, int depth, int height, int width, int out_depth, int out_height, int out_width,
    long long input_n, long long input_c, long long input_z, long long input_y, long long input_x,
    long long grid_n, long long grid_z, long long grid_y, long long grid_x, long long grid_axis,
    long long output_n, long long output_c, long long output_z, long long output_y, long long output_x,
    float scale_x, float shift_x, float scale_y, float shift_y, float scale_z, float shift_z,
    int border, int channels_each
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    if (x >= out_width) return;
    const int chunks = (channels - 1) / channels_each + 1;
    const long long rows = (long long)out_depth * out_height;
    for (long long row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += gridDim.y * blockDim.y) {
        const long long z = row / out_height, y = row % out_height;
        for (long long part = blockIdx.z; part < (long long)batch * chunks; part += gridDim.z) {
            const long long n = part / chunks;
            const int first = (int)(part % chunks) * channels_each;
            const int last = min(channels, first + channels_each);
            const float* at = grid + n * grid_n + z * grid_z + y * grid_y + x * grid_x;
            const Corners<8> from = corners(
                taps(at[0] * scale_x + shift_x, width, border),
                taps(at[grid_axis] * scale_y + shift_y, height, border),
                taps(at[2 * grid_axis] * scale_z + shift_z, depth, border), input_x, input_y, input_z
            );
            const SCALAR* volume = input + n * input_n;
            SCALAR* place = output + n * output_n + z * output_z + y * output_y + x * output_x;
#pragma unroll 1
            for (int c = first; c < last; ++c) store(place + c * output_c, gathered(volume + c * input_c, from));
        }
    }
}

// As grid_sample_2d_pixels.
extern "C" __global__ void __launch_bounds__(256, 4) grid_sample_3d_pixels(
    const SCALAR* __restrict__ input, const float* __restrict__ grid, SCALAR* __restrict__ output,
    int batch, int channels, int depth, int height, int width, int out_depth, int out_height, int out_width,
    long long input_n, long long input_z, long long input_y, long long input_x,
    long long grid_n, long long grid_z, long long grid_y, long long grid_x, long long grid_axis,
    long long output_n, long long output_z, long long output_y, long long output_x,
    float scale_x, float shift_x, float scale_y, float shift_y, float scale_z, float shift_z,
    int border, int packed
) {
    const int x = blockIdx.x * blockDim.y + threadIdx.y;
    if (x >= out_width) return;
    const long long rows = (long long)out_depth * out_height;
    for (long long row = blockIdx.y; row < rows; row += gridDim.y) {
        const long long z = row / out_height, y = row % out_height;
        for (long long n = blockIdx.z; n < batch; n += gridDim.z) {
            const float* at = grid + n * grid_n + z * grid_z + y * grid_y + x * grid_x;
            const Corners<8> from = corners(
                taps(at[0] * scale_x + shift_x, width, border),
                taps(at[grid_axis] * scale_y + shift_y, height, border),
                taps(at[2 * grid_axis] * scale_z + shift_z, depth, border), input_x, input_y, input_z
            );
            gather_channels(
                input + n * input_n, from, output + n * output_n + z * output_z + y * output_y + x * output_x,
                channels, packed, threadIdx.x, blockDim.x
            );
        }
    }
}
