extern "C" __global__ void __launch_bounds__(256, 4) plugin_dense_motion(
    const SCALAR* features, const float* mask_logits, const float* occlusion_logits, const float* source_points,
    const float* points, const float* matrices,
    int batch, int channels, int height, int width, int keypoints, int motion_height, int motion_width, SCALAR* output
) {
    const long long area = (long long)height * width, motion_area = (long long)motion_height * motion_width;
    dense_motion(
        features, mask_logits, occlusion_logits, source_points, points, matrices, output,
        batch, channels, height, width, keypoints, motion_height, motion_width,
        channels * area, area, width, 1, (keypoints + 1) * motion_area, motion_area, motion_width, 1,
        motion_area, motion_width, 1, channels * area, area, width, 1,
        axis_step(motion_width), axis_step(motion_height),
        pixel_scale(width), pixel_shift(width), pixel_scale(height), pixel_shift(height),
        1, 1, 0, 0, CHANNELS_EACH
    );
}
