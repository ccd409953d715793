// A picture drawn through a mesh: which triangle does each pixel show, and which place of the picture?

#include "sampling.cuh"

// The triangle edge from (x, y) down to (x_end, y_end), in double precision and without fused multiply-adds: a pixel's
// centre is then on the same side of an edge for both triangles that share it, and for the engine's rasterizer.
struct Edge {
    double x, y, slope;
    __device__ __forceinline__ Edge(float2 start, float2 end) : x(start.x), y(start.y), slope(0.0) {
        const double rise = __dadd_rn(end.y, -(double)start.y);
        if (rise > 0.0) slope = __ddiv_rn(__dadd_rn(end.x, -(double)start.x), rise);
    }
    __device__ __forceinline__ double at(double row) const {
        return __dadd_rn(x, __dmul_rn(slope, __dadd_rn(row, -y)));
    }
};

// The first pixel whose centre is at `position` or after it.
__device__ __forceinline__ int first_centre(double position, int length) {
    return (int)fmin(fmax(ceil(__dadd_rn(position, -0.5)), 0.0), (double)length);
}

__device__ __forceinline__ bool finite(float2 point) { return isfinite(point.x) && isfinite(point.y); }

__device__ __forceinline__ float2 pair_at(const float* values, long long index) {
    return make_float2(values[index], values[index + 1]);
}

// Scan conversion, one block a triangle. A pixel keeps the highest rank that reaches it, in whatever order threads
// come: the result is the same in every run. `winners` starts as -1. Faces of a head have triangles of some 10 pixels,
// hence blocks of 16 columns by 8 rows; those of a background are walked over.
extern "C" __global__ void mesh_warp_lookup(
    const float* __restrict__ vertices, const int* __restrict__ triangles, const int* __restrict__ order,
    int* __restrict__ winners, int batch, int triangle_count, int height, int width,
    long long vertices_n, long long vertices_v, long long triangles_n, long long order_n
) {
    for (long long n = blockIdx.y; n < batch; n += gridDim.y) {
        const int rank = blockIdx.x;
        const int* triangle = triangles + n * triangles_n + 3 * (long long)order[n * order_n + rank];
        const float* points = vertices + n * vertices_n;
        float2 top = pair_at(points, triangle[0] * vertices_v);
        float2 middle = pair_at(points, triangle[1] * vertices_v);
        float2 bottom = pair_at(points, triangle[2] * vertices_v);
        if (!finite(top) || !finite(middle) || !finite(bottom)) continue;
        // Sorted down the picture; equals keep their order.
        float2 held;
        if (middle.y < top.y) held = top, top = middle, middle = held;
        if (bottom.y < middle.y) held = middle, middle = bottom, bottom = held;
        if (middle.y < top.y) held = top, top = middle, middle = held;

        const Edge whole(top, bottom), upper(top, middle), lower(middle, bottom);
        const int first = first_centre(top.y, height), turn = first_centre(middle.y, height);
        const int last = first_centre(bottom.y, height);
        for (int y = first + (int)threadIdx.y; y < last; y += blockDim.y) {
            const double row = y + 0.5;
            const double one = whole.at(row), other = y < turn ? upper.at(row) : lower.at(row);
            const int end = first_centre(fmax(one, other), width);
            int* shown = winners + (n * height + y) * width;
            for (int x = first_centre(fmin(one, other), width) + (int)threadIdx.x; x < end; x += blockDim.x) {
                atomicMax(shown + x, rank);
            }
        }
    }
}

// For each pixel the place of its triangle, linear between the corners', and the picture there. 32 columns by 8 rows;
// what moves is 4 bytes of winner, 12 of result and the pixels themselves.
extern "C" __global__ void mesh_warp_sample(
    const SCALAR* __restrict__ picture, const float* __restrict__ vertices, const int* __restrict__ triangles,
    const int* __restrict__ order, const float* __restrict__ source, int* __restrict__ shown,
    float* __restrict__ places, SCALAR* __restrict__ output,
    int batch, int channels, int picture_height, int picture_width, int height, int width,
    long long picture_n, long long picture_c, long long picture_y, long long picture_x,
    long long vertices_n, long long vertices_v, long long triangles_n, long long order_n,
    long long source_n, long long source_v,
    long long output_n, long long output_c, long long output_y, long long output_x, int border, float outside
) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    if (x >= width) return;
    for (long long y = blockIdx.y * blockDim.y + threadIdx.y; y < height; y += gridDim.y * blockDim.y) {
        for (long long n = blockIdx.z; n < batch; n += gridDim.z) {
            const long long pixel = (n * height + y) * width + x;
            SCALAR* place = output + n * output_n + y * output_y + x * output_x;
            const int rank = shown[pixel];
            if (rank < 0) {
                places[2 * pixel] = places[2 * pixel + 1] = outside;
                for (int c = 0; c < channels; ++c) store(place + c * output_c, 0.0f);
                continue;
            }
            const int number = order[n * order_n + rank];
            shown[pixel] = number;
            const int* triangle = triangles + n * triangles_n + 3 * (long long)number;
            const float *points = vertices + n * vertices_n, *origins = source + n * source_n;
            const float2 corner = pair_at(points, triangle[0] * vertices_v);
            const float2 end_1 = pair_at(points, triangle[1] * vertices_v);
            const float2 end_2 = pair_at(points, triangle[2] * vertices_v);
            const float2 edge_1 = make_float2(end_1.x - corner.x, end_1.y - corner.y);
            const float2 edge_2 = make_float2(end_2.x - corner.x, end_2.y - corner.y);
            const float area = edge_1.x * edge_2.y - edge_1.y * edge_2.x;
            // Nearly no area: a line, on which no division by it may blow up.
            const float inverse = fabsf(area) < 1e-6f ? 1.0f : 1.0f / area;
            const float across = (x + 0.5f) - corner.x, down = (y + 0.5f) - corner.y;
            const float share_1 = (across * edge_2.y - down * edge_2.x) * inverse;
            const float share_2 = (down * edge_1.x - across * edge_1.y) * inverse;
            const float2 from = pair_at(origins, triangle[0] * source_v);
            const float2 from_1 = pair_at(origins, triangle[1] * source_v);
            const float2 from_2 = pair_at(origins, triangle[2] * source_v);
            const float u = from.x + share_1 * (from_1.x - from.x) + share_2 * (from_2.x - from.x);
            const float v = from.y + share_1 * (from_1.y - from.y) + share_2 * (from_2.y - from.y);
            places[2 * pixel] = u;
            places[2 * pixel + 1] = v;
            const Corners<4> at = corners(
                taps(u, picture_width, border), taps(v, picture_height, border), picture_x, picture_y
            );
            const SCALAR* map = picture + n * picture_n;
#pragma unroll 4
            for (int c = 0; c < channels; ++c) store(place + c * output_c, gathered(map + c * picture_c, at));
        }
    }
}
