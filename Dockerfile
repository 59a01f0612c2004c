# The gateway, the `llmpo` command and the simulated provider and users of `llmpo demo`, in one image.
#   docker build -t llmpo-gateway .
#   docker run -v "$PWD/gateway.yaml:/etc/llmpo/gateway.yaml:ro" -e LLMPO_CLIENT_KEYS=... -e LLMPO_ADMIN_KEYS=... -p 8080:8080 llmpo-gateway

# A minor version, so that rebuilding picks up security fixes; give a digest here to fix every byte.
ARG PYTHON_IMAGE=docker.io/library/python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/llmpo
ENV PATH=/opt/llmpo/bin:$PATH
WORKDIR /src
# Dependencies come before the source: they are the slow layer and seldom change. The build tool lives outside the
# environment that is shipped.
COPY constraints.txt deploy/constraints-build.txt ./
RUN pip install --require-hashes -r constraints.txt \
    && pip install --target=/opt/build-tools --require-hashes -r constraints-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY policy_store policy_store
RUN PYTHONPATH=/opt/build-tools pip install --no-deps --no-build-isolation .

FROM ${PYTHON_IMAGE}
# What `llmpo_build_info` shows: docker build --build-arg REVISION=$(git rev-parse --short HEAD) .
ARG REVISION=
# The user's number is fixed so that volumes and Kubernetes' runAsNonRoot can refer to it.
RUN groupadd --gid 10001 llmpo \
    && useradd --uid 10001 --gid llmpo --no-create-home --home-dir /var/lib/llmpo --shell /usr/sbin/nologin llmpo \
    && install -d -o llmpo -g llmpo -m 0750 /var/lib/llmpo
COPY --from=build /opt/llmpo /opt/llmpo
COPY deploy/healthcheck.py /opt/llmpo/healthcheck.py
# litellm would otherwise fetch a price list from the internet at its first use.
ENV PATH=/opt/llmpo/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LITELLM_LOCAL_MODEL_COST_MAP=True \
    LLMPO_DATA_DIR=/var/lib/llmpo \
    LLMPO_LOG_JSON=true \
    LLMPO_REVISION=${REVISION}
USER 10001:10001
WORKDIR /
# The embedded store's append-only file. Not used when LLMPO_REDIS_URL names a server.
VOLUME ["/var/lib/llmpo"]
EXPOSE 8080
# Finish the answers under way, then leave.
STOPSIGNAL SIGTERM
# No argument holds a space: some engines' APIs break those apart.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "/opt/llmpo/healthcheck.py", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["llmpo"]
CMD ["serve", "--config", "/etc/llmpo/gateway.yaml", "--host", "0.0.0.0", "--port", "8080"]
