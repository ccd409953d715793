"""TensorRT plans of generators: from exported halves to what a GPU runs, checked against torch before it is used.

`network` prepares the exported graph, `plugins` holds our kernels as TensorRT plugins, `build` makes plans, `cache`
keeps them, `verify` compares them with torch, `runner` executes them and `runtime` joins them to `engine.runtime`.
TensorRT is imported in `tensorrt_package` alone (its decorators in `plugins`), when it is needed.
"""
