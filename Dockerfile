# A GPU machine's dmd-restore on full TensorRT. docs/tensorrt.md says how to build and run it.
FROM nvcr.io/nvidia/tensorrt:25.10-py3 AS build

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src

# PyCUDA comes as source: the image has the toolkit, and its stub of libcuda.so is for the linker
ENV PATH=/usr/local/cuda/bin:$PATH \
    LIBRARY_PATH=/usr/local/cuda/lib64/stubs
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN echo 'CUDA_ENABLE_CURAND = False' > /etc/aksetup-defaults.py \
    && python3 -m venv --system-site-packages /opt/dmdnet \
    && /opt/dmdnet/bin/pip install --no-cache-dir 'pycuda>=2025'

COPY pyproject.toml README.md LICENSE ./
COPY runtime ./runtime
COPY calibration ./calibration
COPY export ./export
COPY benchmarks ./benchmarks
# not the extra tensorrt: the image's own TensorRT stays, and the last line fails where there is none
RUN /opt/dmdnet/bin/pip install --no-cache-dir \
        '.[cpu]' 'polygraphy>=0.53' 'onnx>=1.18' 'filelock>=3.13' \
    && /opt/dmdnet/bin/python -c 'import tensorrt'

FROM nvcr.io/nvidia/tensorrt:25.10-py3

# OpenCV's wheel loads these
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/dmdnet /opt/dmdnet
RUN useradd --create-home --uid 10001 dmdnet \
    && mkdir /bundle /photos /out \
    && chown 10001 /bundle /out
ENV PATH=/opt/dmdnet/bin:$PATH
USER 10001
WORKDIR /photos
VOLUME ["/bundle", "/photos", "/out"]
ENTRYPOINT ["dmd-restore"]
CMD ["--help"]
