# Two images from one file:
#   docker build --target service -t nearpose-service .     answers; no PyTorch
#   docker build --target trainer -t nearpose-trainer .     rebuilds the index

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 NUMBA_CACHE_DIR=/tmp/numba
RUN useradd --create-home --uid 10001 nearpose && \
    install --directory --owner nearpose /run/nearpose /var/lib/nearpose /captures
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY index index
COPY service service
COPY trainer trainer

FROM base AS service
RUN pip install ".[otel]"
USER nearpose
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz')"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["--index", "/run/nearpose/index", "--host", "0.0.0.0"]

FROM base AS trainer
RUN pip install ".[trainer,sfm]"
USER nearpose
ENV OMP_NUM_THREADS=1
ENTRYPOINT ["python", "-m", "trainer"]
CMD ["rebuild", "/captures", "/run/nearpose"]
