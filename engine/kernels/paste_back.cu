// A rendered square resized into its place in a picture, its edges faded.

#include "scalars.cuh"

// The cubic convolution kernel with a = -0.75, as OpenCV has it. distance: 0 to 2.
__device__ __forceinline__ float cubic(float distance) {
    const float a = -0.75f;
    if (distance <= 1.0f) return ((a + 2.0f) * distance - (a + 3.0f)) * distance * distance + 1.0f;
    return ((a * distance - 5.0f * a) * distance + 8.0f * a) * distance - 4.0f * a;
}

// Which pixels of one axis of the square a pixel of the picture is made of: `number` of them from `first` on.
struct Span {
    int first, number;
    float at, ratio;
    bool smaller;

    // position: from the crop's edge, in pixels of the picture. Made smaller: the mean of what the pixel covers; made
    // larger: cubic interpolation.
    __device__ __forceinline__ Span(int position, int size, int side)
        : ratio((float)size / (float)side), smaller(side < size) {
        if (size == side) {
            first = position, number = 1, at = (float)position;
        } else if (smaller) {
            at = position * ratio;
            first = (int)at;
            number = min((int)ceilf(at + ratio), size) - first;
        } else {
            at = (position + 0.5f) * ratio - 0.5f;
            first = (int)floorf(at) - 1;
            number = 4;
        }
    }

    __device__ __forceinline__ float weight(int pixel) const {
        if (number == 1) return 1.0f;
        if (!smaller) return cubic(fabsf(at - pixel));
        return fmaxf(fminf(at + ratio, pixel + 1.0f) - fmaxf(at, (float)pixel), 0.0f) / ratio;
    }
};

// 0 at an edge that fades, 1 from `band` pixels inside it on. Edges of the picture itself do not fade.
__device__ __forceinline__ float fade(int position, int start, int side, int length, float band) {
    const long long end = (long long)start + side;
    float ramp = 1.0f;
    if (start > 0) ramp = fminf(ramp, (position + 0.5f - start) / band);
    if (end < length) ramp = fminf(ramp, (end - (position + 0.5f)) / band);
    return ramp * ramp * (3.0f - 2.0f * ramp);
}

// One thread a pixel of the picture, with its channels: outside the crop it copies. The crop is read from memory, so
// that a captured graph can be replayed for another; 3 bytes in, 3 out and the square once.
extern "C" __global__ void paste_back(
    const uint8* __restrict__ pictures, const uint8* __restrict__ heads, const int* __restrict__ crops,
    uint8* __restrict__ output, int batch, int channels, int height, int width, int size,
    long long pictures_n, long long pictures_y, long long pictures_x, long long pictures_c,
    long long heads_n, long long heads_y, long long heads_x, long long heads_c,
    long long output_n, long long output_y, long long output_x, long long output_c, float feather
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    if (x >= width) return;
    for (long long row = blockIdx.y * blockDim.y + threadIdx.y; row < height; row += gridDim.y * blockDim.y) {
        const int y = (int)row;
        for (long long n = blockIdx.z; n < batch; n += gridDim.z) {
            const int left = crops[3 * n], top = crops[3 * n + 1], side = crops[3 * n + 2];
            const uint8* below = pictures + n * pictures_n + y * pictures_y + x * pictures_x;
            uint8* place = output + n * output_n + y * output_y + x * output_x;
            if (x < left || y < top || (long long)x - left >= side || (long long)y - top >= side) {
                for (int c = 0; c < channels; ++c) place[c * output_c] = below[c * pictures_c];
                continue;
            }
            const Span across(x - left, size, side), down(y - top, size, side);
            const float band = fmaxf(feather * side, 1e-6f);
            const float alpha = fade(x, left, side, width, band) * fade(y, top, side, height, band);
            for (int c = 0; c < channels; ++c) {
                const uint8* head = heads + n * heads_n + c * heads_c;
                float sum = 0.0f;
                for (int j = down.first; j < down.first + down.number; ++j) {
                    const uint8* line = head + min(max(j, 0), size - 1) * heads_y;
                    float along = 0.0f;
                    for (int i = across.first; i < across.first + across.number; ++i) {
                        along += across.weight(i) * widened(line[min(max(i, 0), size - 1) * heads_x]);
                    }
                    sum += down.weight(j) * along;
                }
                // Levels first, then the fade: as if the square had been resized by itself.
                const float drawn = rintf(fminf(fmaxf(sum, 0.0f), 255.0f)), before = widened(below[c * pictures_c]);
                store(place + c * output_c, before + alpha * (drawn - before));
            }
        }
    }
}
