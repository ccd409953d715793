extern "C" __global__ void __launch_bounds__(256, 4) plugin_grid_sample_2d(
    const SCALAR* input, const float* grid,
    int batch, int channels, int height, int width, int out_height, int out_width, SCALAR* output
) {
    const long long area = (long long)height * width, out_area = (long long)out_height * out_width;
    grid_sample_2d_planes(
        input, grid, output, batch, channels, height, width, out_height, out_width,
        channels * area, area, width, 1, 2 * out_area, 2LL * out_width, 2, 1,
        channels * out_area, out_area, out_width, 1,
        pixel_scale(width), pixel_shift(width), pixel_scale(height), pixel_shift(height), BORDER, CHANNELS_EACH
    );
}
