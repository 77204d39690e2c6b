# The base is an argument, so that this builds wherever some image with Python 3.11 or newer is at
# hand.  It is used twice: the virtual environment points at the base's own interpreter.
ARG PYTHON_IMAGE=docker.io/library/python:3.13.12-slim-bookworm@sha256:a58daefb915e1e03ad48f3ca4df8832065412c5c35cacb9d39f4229184de12b6

FROM ${PYTHON_IMAGE} AS build
ARG UV_VERSION=0.13.9
# Unchecked: compiled files are never stale in an image, and need not be compared at every start.
ENV PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir uv==${UV_VERSION}
WORKDIR /app
# The dependencies by themselves first: they change rarely.
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --locked --no-default-groups --no-install-project
COPY LICENSE README.md ./
COPY certs certs
COPY webhook webhook
RUN /opt/uv/bin/uv sync --locked --no-default-groups --no-editable

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="harbor-cache-webhook" \
      org.opencontainers.image.description="Makes Pods pull through a Harbor proxy cache, and never keeps a Pod from starting." \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/app/.venv/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /app/.venv /app/.venv
# A number, so that the kubelet can tell that it is not root.
USER 65532:65532
# No HEALTHCHECK: Kubernetes has probes of its own.
ENTRYPOINT ["/app/.venv/bin/harbor-cache"]
