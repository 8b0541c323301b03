"""A GPU made of host memory: PyCUDA's driver API, and TensorRT's runtime on ONNX Runtime."""
