from engine.kernels.source import FOLDER, KERNELS, entry_points, kernel_source


def test_every_source_has_its_wrapper_and_reference():
    assert {path.stem for path in FOLDER.glob("*.cu")} == set(KERNELS)
    for kernel in KERNELS:
        assert (FOLDER / f"{kernel}.py").is_file()
        assert (FOLDER / f"{kernel}_reference.py").is_file()


def test_headers_are_inside_once():
    for kernel in KERNELS:
        text = kernel_source(kernel)
        assert "#include" not in text
        assert text.count("struct float16 {") == 1


def test_entry_points_are_found():
    assert entry_points("mesh_warp") == ("mesh_warp_lookup", "mesh_warp_sample")
    for kernel in KERNELS:
        assert all(entry.startswith(kernel) for entry in entry_points(kernel))
        assert len(entry_points(kernel)) == kernel_source(kernel).count("__global__ void")
