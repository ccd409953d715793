extern "C" __global__ void __launch_bounds__(256, 4) plugin_grid_sample_3d(
    const SCALAR* input, const float* grid,
    int batch, int channels, int depth, int height, int width, int out_depth, int out_height, int out_width,
    SCALAR* output
) {
    const long long area = (long long)height * width, out_area = (long long)out_height * out_width;
    const long long volume = depth * area, out_volume = out_depth * out_area;
    grid_sample_3d_planes(
        input, grid, output, batch, channels, depth, height, width, out_depth, out_height, out_width,
        channels * volume, volume, area, width, 1, 3 * out_volume, 3 * out_area, 3LL * out_width, 3, 1,
        channels * out_volume, out_volume, out_area, out_width, 1,
        pixel_scale(width), pixel_shift(width), pixel_scale(height), pixel_shift(height),
        pixel_scale(depth), pixel_shift(depth), BORDER, CHANNELS_EACH
    );
}
