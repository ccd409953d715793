// 8-bit RGB to YUV 4:2:0, ITU-R BT.601, limited range: what a video encoder takes.

#include "scalars.cuh"

__device__ __forceinline__ float3 rgb_at(const uint8* pixel, long long channel) {
    return make_float3(pixel[0], pixel[channel], pixel[2 * channel]);
}

__device__ __forceinline__ float luma(float3 rgb) {
    return 16.0f + (219.0f / 255.0f) * (0.299f * rgb.x + 0.587f * rgb.y + 0.114f * rgb.z);
}

// One thread makes 2x2 of luma and one pair of chroma. Chroma is the mean of 2 columns and, over rows, 1 3 3 1 around
// the pair, as libswscale's bilinear reduction; rows and columns that do not exist repeat the last. The rows above and
// below are a neighbour's own and come from the cache: 3 bytes in and 1.5 out per pixel.
extern "C" __global__ void color_convert(
    const uint8* __restrict__ frames, uint8* __restrict__ y_plane, uint8* __restrict__ u_plane,
    uint8* __restrict__ v_plane, int batch, int height, int width,
    long long frames_n, long long frames_y, long long frames_x, long long frames_c,
    long long luma_n, long long luma_y, long long chroma_n, long long chroma_y, long long chroma_x
) {
    const int pair_x = blockIdx.x * blockDim.x + threadIdx.x, pairs_x = (width - 1) / 2 + 1;
    const int pairs_y = (height - 1) / 2 + 1;
    if (pair_x >= pairs_x) return;
    for (long long pair_y = blockIdx.y * blockDim.y + threadIdx.y; pair_y < pairs_y; pair_y += gridDim.y * blockDim.y) {
        for (long long n = blockIdx.z; n < batch; n += gridDim.z) {
            const int left = 2 * pair_x, right = min(left + 1, width - 1);
            float3 mean = make_float3(0.0f, 0.0f, 0.0f);
#pragma unroll
            for (int tap = -1; tap < 3; ++tap) {
                const long long wanted = 2 * pair_y + tap;
                const long long row = wanted < 0 ? 0 : wanted < height ? wanted : height - 1;
                const uint8* line = frames + n * frames_n + row * frames_y;
                const float3 one = rgb_at(line + left * frames_x, frames_c);
                const float3 other = rgb_at(line + right * frames_x, frames_c);
                const float weight = tap == 0 || tap == 1 ? 3.0f / 16.0f : 1.0f / 16.0f;
                mean.x += weight * (one.x + other.x);
                mean.y += weight * (one.y + other.y);
                mean.z += weight * (one.z + other.z);
                if ((tap == 0 || tap == 1) && wanted < height) {
                    uint8* place = y_plane + n * luma_n + row * luma_y;
                    store(place + left, luma(one));
                    if (right > left) store(place + right, luma(other));
                }
            }
            const long long chroma = n * chroma_n + pair_y * chroma_y + pair_x * chroma_x;
            const float blue = -0.168736f * mean.x - 0.331264f * mean.y + 0.5f * mean.z;
            const float red = 0.5f * mean.x - 0.418688f * mean.y - 0.081312f * mean.z;
            store(u_plane + chroma, 128.0f + (224.0f / 255.0f) * blue);
            store(v_plane + chroma, 128.0f + (224.0f / 255.0f) * red);
        }
    }
}
