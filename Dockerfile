# syntax=docker/dockerfile:1
# Tercet's images. Each is a target: operator, gateway, engine (GPU, on NVIDIA's Triton image) and engine-cpu
# (Triton from the nvidia-pytriton wheel). hack/images.sh builds them.
#
# An image is its base, a layer with the locked packages and a thin one with Tercet, so that a change of the
# code moves kilobytes. Each must load its program before it is an image: as root, for that leaves bytecode of
# what was imported, which the public Python images lack for the standard library. Nothing runs as root or writes
# outside /tmp, /dev/shm and the model cache.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.04-py3


# ---- Build stages: they hold uv, and a compiler where one is needed; no image does.

FROM ${PYTHON_IMAGE} AS builder
# So that a machine's own certificates, mounted over the image's, are believed.
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    PYTHON=/opt/tercet/venv/bin/python
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends binutils >/dev/null
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --quiet --no-cache-dir uv==0.13.9 \
    && ln -s /opt/uv/bin/uv /usr/local/bin/uv \
    && uv venv --quiet --python "$(command -v python3)" /opt/tercet/venv
WORKDIR /src

FROM builder AS operator-packages
COPY requirements/operator.txt requirements.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --quiet --python "$PYTHON" --require-hashes --requirements requirements.txt
COPY images/slim.sh ./
RUN ./slim.sh /opt/tercet/venv/lib/python3.11/site-packages

FROM builder AS gateway-packages
COPY requirements/gateway.txt requirements.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --quiet --python "$PYTHON" --require-hashes --requirements requirements.txt
COPY images/slim.sh ./
RUN ./slim.sh /opt/tercet/venv/lib/python3.11/site-packages

FROM builder AS engine-cpu-packages
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null
COPY requirements/engine-cpu.txt requirements.txt
# The lock leaves out what torch needs on a GPU only, so nothing may be resolved here.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --quiet --python "$PYTHON" --require-hashes --no-deps --requirements requirements.txt
COPY images/absent-cuda.sh images/wheel-triton.sh ./
RUN packages=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && ./absent-cuda.sh "$packages" \
    && ./wheel-triton.sh "$packages" /opt/tritonserver

# NVIDIA's image has a Python of its own (3.12), which its stub is linked to.
FROM ${TRITON_IMAGE} AS engine-packages
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy PYTHON=/opt/tercet/venv/bin/python
RUN python3 -m pip install --quiet --no-cache-dir --break-system-packages uv==0.13.9 \
    && uv venv --quiet --python "$(command -v python3)" /opt/tercet/venv
WORKDIR /src
COPY requirements/engine.txt requirements.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --quiet --python "$PYTHON" --require-hashes --requirements requirements.txt

# .dockerignore says what there is to copy.
FROM builder AS product
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --quiet --python "$PYTHON" --no-deps .

# What computes nothing needs no weights.
FROM product AS control-product
RUN rm -r /opt/tercet/venv/lib/python3.11/site-packages/tercet_engine/demo/tercet

FROM engine-packages AS engine-product
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv --quiet --clear --python "$(command -v python3)" /opt/tercet/venv \
    && uv pip install --quiet --python "$PYTHON" --no-deps .


# ---- Control plane

FROM ${PYTHON_IMAGE} AS runtime
LABEL org.opencontainers.image.title="Tercet" \
      org.opencontainers.image.description="Real-time speech from Qwen2.5-Omni on Triton and Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --create-home tercet
ENV PATH=/opt/tercet/venv/bin:$PATH \
    PYTHONUNBUFFERED=1

FROM runtime AS operator
COPY --from=operator-packages /opt/tercet/venv /opt/tercet/venv
COPY --from=control-product /opt/tercet/venv /opt/tercet/venv
RUN python3 -c "import tercet_operator.__main__, tercet_operator.handlers"
USER 10001:10001
ENTRYPOINT ["python3", "-m", "tercet_operator"]

FROM runtime AS gateway
COPY --from=gateway-packages /opt/tercet/venv /opt/tercet/venv
COPY --from=control-product /opt/tercet/venv /opt/tercet/venv
RUN --mount=type=bind,target=/context \
    python3 -c "import tercet_gateway.__main__" && cd /context && SVT_LOG=1 python3 -m tests.gateway.check_media
USER 10001:10001
EXPOSE 8000 9400
HEALTHCHECK CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz')"]
ENTRYPOINT ["python3", "-m", "tercet_gateway"]
CMD ["--settings", "/etc/tercet/gateway.json"]


# ---- Engine: `tritonserver` and `tercet` on the path, the models of each kind of server in a folder of its own.

FROM runtime AS engine-cpu
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends libnuma1 tini >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log
ENV PATH=/opt/tercet/bin:$PATH \
    TERCET_CACHE=/var/cache/tercet \
    XDG_CACHE_HOME=/tmp/.cache \
    HF_HOME=/var/cache/tercet/.huggingface \
    MODELSCOPE_CACHE=/var/cache/tercet/.modelscope \
    TRANSFORMERS_VERBOSITY=error
COPY --from=engine-cpu-packages /opt/tritonserver /opt/tritonserver
COPY --from=engine-cpu-packages /opt/tercet/venv /opt/tercet/venv
COPY images/tritonserver /opt/tercet/bin/tritonserver
COPY model_repo /opt/tercet/models/omni
COPY model_repo/thinker /opt/tercet/models/thinker/thinker
COPY model_repo/talker /opt/tercet/models/talker/talker
COPY model_repo/code2wav /opt/tercet/models/code2wav/code2wav
COPY --from=product /opt/tercet/venv /opt/tercet/venv
# A volume takes the folder's owner where it is mounted for the first time.
RUN install --directory --owner 10001 --group 10001 "$TERCET_CACHE"
USER 10001:10001
RUN tercet --help >/dev/null && python3 -c "import tercet_engine.thinker, tercet_engine.talker, tercet_engine.code2wav.stage"
EXPOSE 8100 8101 8102
HEALTHCHECK CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8100/v2/health/ready')"]
CMD ["tritonserver", "--help"]

FROM ${TRITON_IMAGE} AS engine
LABEL org.opencontainers.image.title="Tercet" \
      org.opencontainers.image.description="Real-time speech from Qwen2.5-Omni on Triton and Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends tini >/dev/null \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home tercet
ENV PATH=/opt/tercet/bin:/opt/tercet/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TERCET_CACHE=/var/cache/tercet \
    XDG_CACHE_HOME=/tmp/.cache \
    HF_HOME=/var/cache/tercet/.huggingface \
    MODELSCOPE_CACHE=/var/cache/tercet/.modelscope \
    TRANSFORMERS_VERBOSITY=error
COPY --from=engine-packages /opt/tercet/venv /opt/tercet/venv
COPY images/tritonserver /opt/tercet/bin/tritonserver
COPY model_repo /opt/tercet/models/omni
COPY model_repo/thinker /opt/tercet/models/thinker/thinker
COPY model_repo/talker /opt/tercet/models/talker/talker
COPY model_repo/code2wav /opt/tercet/models/code2wav/code2wav
COPY --from=engine-product /opt/tercet/venv /opt/tercet/venv
# A volume takes the folder's owner where it is mounted for the first time.
RUN install --directory --owner 10001 --group 10001 "$TERCET_CACHE"
USER 10001:10001
RUN tercet --help >/dev/null && python3 -c "import tercet_engine.thinker, tercet_engine.talker, tercet_engine.code2wav.stage"
EXPOSE 8100 8101 8102
HEALTHCHECK CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8100/v2/health/ready')"]
ENTRYPOINT []
CMD ["tritonserver", "--help"]
