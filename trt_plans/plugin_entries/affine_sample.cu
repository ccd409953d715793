extern "C" __global__ void __launch_bounds__(256, 4) plugin_affine_sample(
    const SCALAR* features, const float* scale, const float* angle, const float* translation,
    int batch, int channels, int height, int width, SCALAR* output
) {
    const long long area = (long long)height * width;
    affine_sample_planes(
        features, scale, angle, translation, output, batch, channels, height, width,
        channels * area, area, width, 1, channels * area, area, width, 1, axis_step(width), axis_step(height),
        pixel_scale(width), pixel_shift(width), pixel_scale(height), pixel_shift(height), 0
    );
}
