# Four images from one file; docs/operations.md says how large they are:
#   docker build --target service -t nearpose-service .             answers, on CPUs; no PyTorch
#   docker build --target service-gpu -t nearpose-service:gpu .     answers, on an NVIDIA GPU
#   docker build --target trainer -t nearpose-trainer .             rebuilds the index, on CPUs
#   docker build --target trainer-gpu -t nearpose-trainer:gpu .     the same, on NVIDIA GPUs
# podman build takes them as well, with --format docker for the health check.
# Each runs as user 10001 and writes to nothing but its volumes and /tmp.

FROM python:3.11-slim AS base
# What libraries compile, draw and look for at home goes to /tmp: the root file system may be read-only.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib
RUN useradd --no-create-home --uid 10001 nearpose && \
    install --directory --owner nearpose /run/nearpose /var/lib/nearpose /captures
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY index index
COPY service service
COPY trainer trainer

FROM base AS serving
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz')"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["--index", "/run/nearpose/index", "--host", "0.0.0.0"]

# Without CUDA's libraries, which faiss-gpu brings along: 1.5 GB that no CPU needs.
FROM serving AS service
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN pip install ".[otel,milvus]" && \
    pip freeze | grep -o '^nvidia-[^=]*' | xargs pip uninstall --yes faiss-gpu && \
    pip install --no-deps "faiss-cpu>=1.9"
USER 10001

FROM serving AS service-gpu
RUN pip install ".[otel,milvus]" "torch>=2.4"
USER 10001

FROM base AS training
ENV OMP_NUM_THREADS=1
ENTRYPOINT ["python", "-m", "trainer"]
CMD ["rebuild", "/captures", "/run/nearpose"]

FROM training AS trainer
# Where PyTorch's builds for CPUs are: its own index or a mirror of it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN pip install --index-url "$TORCH_INDEX" "torch>=2.4" "torchvision>=0.19" && \
    pip install ".[trainer,sfm,milvus]" && \
    pip freeze | grep -o '^nvidia-[^=]*' | xargs pip uninstall --yes faiss-gpu && \
    pip install --no-deps "faiss-cpu>=1.9"
USER 10001

FROM training AS trainer-gpu
RUN pip install ".[trainer,sfm,milvus,ray]"
USER 10001
