# The server, on the CPU: docker build -f docker/server.Dockerfile -t higgs .
# For NVIDIA cards add: --build-arg TORCH_INDEX=https://pypi.org/simple
# docs/deploy.md tells how it is run.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm

# The compiler builds the CPU kernels now, and launches those of cards later.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc=4:12.* libc6-dev=2.36-* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 higgs \
    && install -d -o higgs /voices /models

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,target=/build,rw pip install --no-cache-dir -c /build/constraints.txt \
    --extra-index-url "$TORCH_INDEX" "/build[serve]"

WORKDIR /home/higgs
USER 1000
ENV HIGGS_VOICES=/voices \
    HF_HOME=/models \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1
VOLUME ["/voices", "/models"]
EXPOSE 8000
HEALTHCHECK --start-period=300s --interval=15s --timeout=5s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
# For other machines than this container: keys of yours in HIGGS_API_KEYS, or one is printed.
ENTRYPOINT ["higgs"]
CMD ["serve", "--lan"]
