# The worker for RunPod: docker build -f docker/runpod.Dockerfile -t higgs-runpod .
# Without a card: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
# With a model inside: --build-arg MODEL=bosonai/higgs-audio-v2-generation-3B-base
# docs/deploy.md tells how it is run.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm

# The compiler builds the CPU kernels now, and launches those of cards later.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc=4:12.* libc6-dev=2.36-* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 higgs \
    && install -d -o higgs /models

ARG TORCH_INDEX=https://pypi.org/simple
RUN --mount=type=bind,target=/build,rw pip install --no-cache-dir -c /build/constraints.txt \
    --extra-index-url "$TORCH_INDEX" "/build[runpod]"

WORKDIR /home/higgs
COPY serverless serverless
USER 1000
ENV HF_HOME=/models \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1
ARG MODEL=
RUN if [ -n "$MODEL" ]; then higgs download "$MODEL"; fi
# It answers no port: it asks RunPod for jobs, and tells RunPod by itself that it is well.
HEALTHCHECK NONE
CMD ["python", "-m", "serverless.runpod_worker"]
