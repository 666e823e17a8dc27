# syntax=docker/dockerfile:1
# Training. docker build -f docker/training.Dockerfile -t cvivit-training [--build-arg TORCH=cpu] .
#
# One process: docker run --gpus all IMAGE train --config paper
# Every GPU:   docker run --gpus all --entrypoint torchrun IMAGE --nproc-per-node gpu -m training train ...
#
# NCCL comes inside torch's CUDA wheels and needs no package of its own. What it needs of `docker run`:
#   --shm-size 8g                    processes of one machine share memory in /dev/shm; Docker gives 64 MB
#   --ulimit memlock=-1              pinned buffers
#   --network host                   several machines: NCCL opens ports that cannot be published
#   -e NCCL_SOCKET_IFNAME=eth0       which interface, where a machine has several
#   --device /dev/infiniband --cap-add IPC_LOCK    RDMA; without it NCCL falls back to sockets
#   -e NCCL_DEBUG=INFO               says which of these it uses

# A version and no digest: a digest names one build, and would freeze Debian's security fixes with it.
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build

# Which of torch's own wheels: cu130 (drivers from 580), cu126 (older drivers and cards), cpu.
ARG TORCH=cu130

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/venv/bin:$PATH

WORKDIR /build
RUN python -m venv /opt/venv

# As in service.Dockerfile, step for step: both images share these layers.
COPY constraints.txt ./
RUN version="$(sed -n 's/^torch==//p' constraints.txt)" \
    && pip install --constraint constraints.txt \
        --extra-index-url "https://download.pytorch.org/whl/${TORCH}" "torch==${version}+${TORCH}"

COPY pyproject.toml LICENSE NOTICE ./
COPY cvivit cvivit
COPY service service
COPY training training
RUN pip install --constraint constraints.txt ".[training]" \
    && pip check


FROM python:${PYTHON}

# NCCL opens InfiniBand's library when it finds it. Debian's mirrors keep one version of a package, so a
# pinned one would stop building with the next security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ibverbs-providers libibverbs1 \
    && rm -rf /var/lib/apt/lists/*

# 0777: shards and runs belong to whoever starts the container, by --user.
RUN groupadd --gid 10001 cvivit \
    && useradd --uid 10001 --gid 10001 --no-log-init --create-home --home-dir /cache cvivit \
    && chmod 0777 /cache \
    && install --directory --mode 0777 /workspace

COPY --from=build /opt/venv /opt/venv

# LOGNAME: torch asks for the user's name, which a number given by --user does not have.
# HF_TOKEN_PATH is where a token may be mounted, and no token.
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

# A run is a command, not a server: it exits when it is done, and nothing answers meanwhile.
HEALTHCHECK NONE

ENTRYPOINT ["python", "-m", "training"]
