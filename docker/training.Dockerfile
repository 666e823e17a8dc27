# syntax=docker/dockerfile:1
# Training. docker build -f docker/training.Dockerfile -t cvivit-training [--build-arg TORCH=cpu] .
#
# One process: docker run --gpus all IMAGE train --config paper
# Every GPU:   docker run --gpus all --entrypoint torchrun IMAGE --nproc-per-node gpu -m training train ...
#
# NCCL comes with torch's CUDA wheels and needs no package. It needs these options of `docker run`:
#   --shm-size 8g                    processes of one machine share memory in /dev/shm; Docker gives 64 MB
#   --ulimit memlock=-1              pinned buffers
#   --network host                   for several machines: NCCL opens ports that cannot be published
#   -e NCCL_SOCKET_IFNAME=eth0       which network interface to use, if a machine has several
#   --device /dev/infiniband --cap-add IPC_LOCK    for RDMA; without it NCCL uses sockets
#   -e NCCL_DEBUG=INFO               to see which of these it uses

# A version rather than a digest: a digest names one build, and would keep Debian's security fixes out.
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build

# Which of torch's own wheels to install: cu130 (driver 580 or newer), cu126 (older drivers and cards) or cpu.
ARG TORCH=cu130

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/venv/bin:$PATH

WORKDIR /build
RUN python -m venv /opt/venv

# The same steps as in service.Dockerfile, so that both images share these layers.
COPY constraints.txt ./
RUN version="$(sed -n 's/^torch==//p' constraints.txt)" \
    && pip install --constraint constraints.txt \
        --extra-index-url "https://download.pytorch.org/whl/${TORCH}" "torch==${version}+${TORCH}"

COPY pyproject.toml LICENSE NOTICE ./
COPY cvivit cvivit
COPY service service
COPY training training
# Extras to install instead of the usual ones.
ARG EXTRAS
RUN pip install --constraint constraints.txt ".[${EXTRAS:-training}]" \
    && pip check


FROM python:${PYTHON}

# NCCL uses InfiniBand's library if it is there. Debian's mirrors keep one version of a package, so a pinned
# version would stop building with the next security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ibverbs-providers libibverbs1 \
    && rm -rf /var/lib/apt/lists/*

# Everyone may write to the workspace: shards and runs belong to whoever starts the container with --user.
RUN groupadd --gid 10001 cvivit \
    && useradd --uid 10001 --gid 10001 --no-log-init --create-home --home-dir /cache cvivit \
    && chmod 0777 /cache \
    && install --directory --mode 0777 /workspace

COPY --from=build /opt/venv /opt/venv

# LOGNAME is set because torch asks for the user's name, and a number given by --user has none.
# HF_TOKEN_PATH is the place where a token may be mounted; it holds no token.
# hadolint ignore=DL3064
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/cache \
    LOGNAME=cvivit \
    HF_HOME=/cache/huggingface \
    TORCH_HOME=/cache/torch \
    HF_TOKEN_PATH=/run/secrets/hf_token

USER 10001:10001
WORKDIR /workspace
VOLUME /cache /workspace

# A run is a command rather than a server: it exits when it is done, and there is nothing to ask meanwhile.
HEALTHCHECK NONE

ENTRYPOINT ["python", "-m", "training"]
