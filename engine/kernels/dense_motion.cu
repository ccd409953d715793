// Features moved by the flow of a first-order motion model, straight from keypoints and the motion network's logits.
//
// Sparse motions, mask softmax, flow, its resizing, occlusion and the warp are one pass: neither motions (8 bytes for
// each of K + 1 motions and positions), masks, flow nor unoccluded features are ever in memory.

#include "sampling.cuh"

// Of a block: so many positions' neighbours lie in shared memory (1.5 KiB), found by as many threads, then used by all
// for every channel of the block. 32 make a row of threads store a whole line.
static constexpr int POSITIONS = 32;

struct Keypoints {
    const float *source_points, *points, *matrices;
    int count;
};

// A position of the motion map: where it is in the source, and how much of it is seen there.
struct Motion {
    float u, v, occlusion;
};

struct Logits {
    const void* values;
    bool wide;
    __device__ __forceinline__ float operator[](long long index) const {
        return wide ? static_cast<const float*>(values)[index] : widened(static_cast<const SCALAR*>(values)[index]);
    }
};

__device__ __forceinline__ Motion motion_at(
    int x, int y, const Keypoints& keypoints, const Logits& masks, long long mask, long long mask_k,
    const Logits& occlusions, long long occlusion, float step_x, float step_y
) {
    const float u = x * step_x - 1.0f, v = y * step_y - 1.0f;
    float largest = masks[mask];
    for (int k = 1; k <= keypoints.count; ++k) largest = fmaxf(largest, masks[mask + k * mask_k]);
    // The first motion is none: the background's.
    float total = expf(masks[mask] - largest);
    float sum_u = total * u, sum_v = total * v;
    for (int k = 0; k < keypoints.count; ++k) {
        const float share = expf(masks[mask + (k + 1) * mask_k] - largest);
        const float *matrix = keypoints.matrices + 4 * k, *from = keypoints.source_points + 2 * k;
        const float across = u - keypoints.points[2 * k], down = v - keypoints.points[2 * k + 1];
        total += share;
        sum_u += share * (matrix[0] * across + matrix[1] * down + from[0]);
        sum_v += share * (matrix[2] * across + matrix[3] * down + from[1]);
    }
    const float seen = occlusions.values ? 1.0f / (1.0f + expf(-occlusions[occlusion])) : 1.0f;
    return {sum_u / total, sum_v / total, seen};
}

// How a bilinear enlargement or reduction reads one axis; positions before the first centre repeat it.
__device__ __forceinline__ Taps resize_taps(int position, int length, int out_length) {
    if (length == out_length) return {{position, position}, {1.0f, 0.0f}};
    const float at = fmaxf((position + 0.5f) * ((float)length / (float)out_length) - 0.5f, 0.0f);
    const int first = min((int)at, length - 1);
    const float share = fminf(at - first, 1.0f);
    return {{first, min(first + 1, length - 1)}, {1.0f - share, share}};
}

// A grid of (tiles of positions, chunks of channels, batch) and 256 threads, whatever the layout: with channels apart
// neighbouring threads take neighbouring positions, with channels together neighbouring (packs of) channels.
extern "C" __global__ void __launch_bounds__(256, 4) dense_motion(
    const SCALAR* __restrict__ features, const void* __restrict__ mask_logits,
    const void* __restrict__ occlusion_logits, const float* __restrict__ source_points,
    const float* __restrict__ points, const float* __restrict__ matrices, SCALAR* __restrict__ output,
    int batch, int channels, int height, int width, int keypoints, int motion_height, int motion_width,
    long long input_n, long long input_c, long long input_y, long long input_x,
    long long mask_n, long long mask_k, long long mask_y, long long mask_x,
    long long occlusion_n, long long occlusion_y, long long occlusion_x,
    long long output_n, long long output_c, long long output_y, long long output_x,
    float step_x, float step_y, float scale_x, float shift_x, float scale_y, float shift_y,
    int wide_masks, int wide_occlusion, int channels_together, int packed, int channels_each
) {
    __shared__ Corners<4> places[POSITIONS];
    const long long area = (long long)height * width, start = (long long)blockIdx.x * POSITIONS;
    const int positions = (int)min((long long)POSITIONS, area - start);
    const int thread = threadIdx.x, threads = blockDim.x;
    const int first = blockIdx.y * channels_each, number = min(channels_each, channels - first);
    const Logits masks{mask_logits, (bool)wide_masks}, occlusions{occlusion_logits, (bool)wide_occlusion};

    for (long long n = blockIdx.z; n < batch; n += gridDim.z) {
        for (int item = thread; item < positions; item += threads) {
            const int y = (int)((start + item) / width), x = (int)((start + item) % width);
            const Keypoints of_frame{
                source_points + 2 * n * keypoints, points + 2 * n * keypoints, matrices + 4 * n * keypoints, keypoints
            };
            const Taps across = resize_taps(x, motion_width, width), down = resize_taps(y, motion_height, height);
            Motion motion{0.0f, 0.0f, 0.0f};
            for (int corner = 0; corner < 4; ++corner) {
                // Chosen, not indexed: an array that is indexed at run time is kept in memory.
                const bool right = corner & 1, below = corner >> 1;
                const float weight = (right ? across.weight[1] : across.weight[0]) *
                                     (below ? down.weight[1] : down.weight[0]);
                if (weight == 0.0f) continue;
                const int column = right ? across.index[1] : across.index[0];
                const int row = below ? down.index[1] : down.index[0];
                const Motion part = motion_at(
                    column, row, of_frame, masks, n * mask_n + row * mask_y + column * mask_x, mask_k, occlusions,
                    n * occlusion_n + row * occlusion_y + column * occlusion_x, step_x, step_y
                );
                motion.u += weight * part.u;
                motion.v += weight * part.v;
                motion.occlusion += weight * part.occlusion;
            }
            Corners<4> from = corners(
                taps(motion.u * scale_x + shift_x, width, false), taps(motion.v * scale_y + shift_y, height, false),
                input_x, input_y
            );
            for (int corner = 0; corner < 4; ++corner) from.weight[corner] *= motion.occlusion;
            places[item] = from;
        }
        __syncthreads();

        const SCALAR* from = features + n * input_n + first * input_c;
        SCALAR* to = output + n * output_n + first * output_c;
        if (channels_together) {
            const int step = packed ? Pack<SCALAR>::LENGTH : 1, groups = (number - 1) / step + 1;
            for (int item = thread; item < positions * groups; item += threads) {
                const int position = item / groups, channel = item % groups * step;
                const long long y = (start + position) / width, x = (start + position) % width;
                SCALAR* place = to + y * output_y + x * output_x + channel;
                if (packed) {
                    gather_pack(from + channel, places[position], place);
                } else {
                    store(place, gathered(from + channel, places[position]));
                }
            }
        } else if (thread % POSITIONS < positions) {
            // A thread keeps its position: blocks have a multiple of POSITIONS threads.
            const Corners<4> place = places[thread % POSITIONS];
            const long long at = start + thread % POSITIONS;
            SCALAR* pixel = to + at / width * output_y + at % width * output_x;
#pragma unroll 4
            for (int c = thread / POSITIONS; c < number; c += threads / POSITIONS) {
                store(pixel + c * output_c, gathered(from + c * input_c, place));
            }
        }
        __syncthreads();
    }
}
