// Every channel of a map moved by its own similarity transformation (AdaAT), grid and blend computed in registers.
//
// No grid is read or written: torch's way moves 8 bytes of grid per value, twice, this one reads and writes the values
// alone. The transformation belongs to the channel, so a thread stays with one channel, computes sine and cosine
// once, and walks over its positions.

#include "sampling.cuh"

// From the output's position, in normalised coordinates, to pixels of the input.
struct Affine {
    float cosine, sine, across, down;
};

__device__ __forceinline__ Affine affine(
    const float* scale, const float* angle, const float* translation, long long channel
) {
    float sine, cosine;
    sincosf(angle[channel], &sine, &cosine);
    return {scale[channel] * cosine, scale[channel] * sine, translation[2 * channel], translation[2 * channel + 1]};
}

// The neighbour that a channel is mixed with, -1 if that does not exist, and the share that the channel itself keeps.
struct Blend {
    int neighbour;
    float own, other;
};

__device__ __forceinline__ Blend blend_of(int channel, int channels, bool blend) {
    if (!blend) return {-1, 1.0f, 0.0f};
    const float ratio = (float)channel / (float)(channels - 1);
    const float other = fabsf(ratio - 0.5f);
    const int neighbour = ratio < 0.5f ? channel - 1 : channel + 1;
    return {neighbour < channels ? neighbour : -1, 1.0f - other, other};
}

__device__ __forceinline__ float moved(
    const SCALAR* map, const Affine& to, const Blend& mix, int channel, int x, int y, int height, int width,
    long long input_c, long long input_y, long long input_x, float step_x, float step_y,
    float scale_x, float shift_x, float scale_y, float shift_y
) {
    const float u = x * step_x - 1.0f, v = y * step_y - 1.0f;
    const Corners<4> from = corners(
        taps((to.cosine * u - to.sine * v + to.across) * scale_x + shift_x, width, false),
        taps((to.sine * u + to.cosine * v + to.down) * scale_y + shift_y, height, false), input_x, input_y
    );
    float value = mix.own * gathered(map + channel * input_c, from);
    if (mix.neighbour >= 0) value += mix.other * gathered(map + mix.neighbour * input_c, from);
    return value;
}

// Channels apart: a block takes a strip of one channel's map, neighbouring threads neighbouring columns.
extern "C" __global__ void __launch_bounds__(256, 4) affine_sample_planes(
    const SCALAR* __restrict__ input, const float* __restrict__ scale, const float* __restrict__ angle,
    const float* __restrict__ translation, SCALAR* __restrict__ output,
    int batch, int channels, int height, int width,
    long long input_n, long long input_c, long long input_y, long long input_x,
    long long output_n, long long output_c, long long output_y, long long output_x,
    float step_x, float step_y, float scale_x, float shift_x, float scale_y, float shift_y, int blend
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    if (x >= width) return;
    for (long long map = blockIdx.z; map < (long long)batch * channels; map += gridDim.z) {
        const long long n = map / channels;
        const int channel = (int)(map % channels);
        const Affine to = affine(scale, angle, translation, map);
        const Blend mix = blend_of(channel, channels, blend);
#pragma unroll 2
        for (int y = blockIdx.y * blockDim.y + threadIdx.y; y < height; y += gridDim.y * blockDim.y) {
            const float value = moved(
                input + n * input_n, to, mix, channel, x, y, height, width, input_c, input_y, input_x, step_x, step_y,
                scale_x, shift_x, scale_y, shift_y
            );
            store(output + n * output_n + channel * output_c + y * output_y + x * output_x, value);
        }
    }
}

// Channels together: neighbouring threads take neighbouring channels, whose stores are coalesced. Their loads are not:
// each channel looks elsewhere. Keep maps that are only moved by channel in NCHW.
extern "C" __global__ void __launch_bounds__(256, 4) affine_sample_pixels(
    const SCALAR* __restrict__ input, const float* __restrict__ scale, const float* __restrict__ angle,
    const float* __restrict__ translation, SCALAR* __restrict__ output,
    int batch, int channels, int height, int width,
    long long input_n, long long input_c, long long input_y, long long input_x,
    long long output_n, long long output_c, long long output_y, long long output_x,
    float step_x, float step_y, float scale_x, float shift_x, float scale_y, float shift_y, int blend
) {
    const int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= channels) return;
    for (long long n = blockIdx.z; n < batch; n += gridDim.z) {
        const Affine to = affine(scale, angle, translation, n * channels + channel);
        const Blend mix = blend_of(channel, channels, blend);
        for (int y = blockIdx.y; y < height; y += gridDim.y) {
            for (int x = threadIdx.y; x < width; x += blockDim.y) {
                const float value = moved(
                    input + n * input_n, to, mix, channel, x, y, height, width, input_c, input_y, input_x, step_x,
                    step_y, scale_x, shift_x, scale_y, shift_y
                );
                store(output + n * output_n + channel * output_c + y * output_y + x * output_x, value);
            }
        }
    }
}
