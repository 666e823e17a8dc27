# syntax=docker/dockerfile:1
# The service. docker build -f docker/service.Dockerfile -t cvivit-service [--build-arg TORCH=cpu] .

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

# torch comes first: it has gigabytes and changes only with its pinned version, so most builds reuse this layer.
# Only torch's own index has the local version (+cu130). The dependencies come from either index.
COPY constraints.txt ./
RUN version="$(sed -n 's/^torch==//p' constraints.txt)" \
    && pip install --constraint constraints.txt \
        --extra-index-url "https://download.pytorch.org/whl/${TORCH}" "torch==${version}+${TORCH}"

# The README is not copied, so that a change of it does not build the layer again.
COPY pyproject.toml LICENSE NOTICE ./
COPY cvivit cvivit
COPY service service
COPY training training
# Extras to install instead of the usual ones: service,otel,ray for a node of a Ray cluster.
ARG EXTRAS
RUN pip install --constraint constraints.txt ".[${EXTRAS:-service,otel}]" \
    && pip check


# The kernels for A100, H100 and B200, compiled ahead: a service that starts on one of these finds them in its cache.
# The stage has no GPU, and needs none. With TORCH=cpu there is no Triton and nothing to compile.
FROM build AS kernels

ARG TORCH=cu130
RUN mkdir /opt/triton \
    && if [ "${TORCH}" != cpu ]; then \
        TRITON_CACHE_DIR=/opt/triton python -m cvivit.runtime.cuda.ahead --preset released --preset demo; \
    fi


FROM python:${PYTHON}

# Users are numbers rather than names, so that Kubernetes' runAsNonRoot can check them. The home folder is the
# volume: what libraries cache (weights, CUDA kernels) is kept, and the root may be mounted read-only.
RUN groupadd --gid 10001 cvivit \
    && useradd --uid 10001 --gid 10001 --no-log-init --create-home --home-dir /cache cvivit

# Triton builds the small programs that launch its kernels with a C compiler, once, when the service first starts.
# Without one the service would go on with the plain modules. An image for CPUs needs none.
ARG TORCH=cu130
RUN if [ "${TORCH}" != cpu ]; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends gcc libc6-dev \
        && rm -rf /var/lib/apt/lists/*; \
    fi

COPY --from=build /opt/venv /opt/venv
# A new volume starts with what the image has in its place.
COPY --from=kernels --chown=10001:10001 /opt/triton /cache/triton
COPY docker/healthcheck.py /opt/healthcheck.py

# NVIDIA_* is read by NVIDIA's container toolkit. PYTHONSAFEPATH: nothing is imported from the working directory.
# HF_TOKEN_PATH is the place where a token may be mounted; it holds no token. The port is PORT rather than
# CVIVIT_PORT, so that platforms that set PORT (Cloud Run, Heroku) choose it. CVIVIT_PORT wins where it is set.
# hadolint ignore=DL3064
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/cache \
    HF_HOME=/cache/huggingface \
    HF_TOKEN_PATH=/run/secrets/hf_token \
    TRITON_CACHE_DIR=/cache/triton \
    CVIVIT_MODEL=obvious-research/phenaki-cvivit \
    CVIVIT_HOST=0.0.0.0 \
    PORT=8000

USER 10001:10001
WORKDIR /cache
VOLUME /cache
EXPOSE 8000

# The start period is long enough to fetch the weights over a slow line and to warm up.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
    CMD ["python", "/opt/healthcheck.py"]

ENTRYPOINT ["python", "-m", "service"]
