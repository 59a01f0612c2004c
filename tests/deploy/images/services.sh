#!/usr/bin/env bash
# services.sh BASE_IMAGE COMPOSE_FILE: stand-ins for the servers of the compose file where no registry can be reached,
# tagged as the file names them: Redis, HAProxy and Prometheus from Debian's packages, laid out like the official
# images. Grafana is in no Debian archive and gets none. Needs root, podman and BASE_IMAGE (see python.sh).
set -euo pipefail
base=$1 compose=$2
here=$(cd "$(dirname "$0")" && pwd)
export CONTAINERS_CONF=${CONTAINERS_CONF:-$here/containers.conf}

named() { grep -oE "docker.io/[a-z/]*$1:[A-Za-z0-9.-]+" "$compose" | head -1; }

# stand_in IMAGE PACKAGES: the base with Debian packages and the instructions on standard input.
stand_in() {
    local context
    context=$(mktemp -d)
    {
        echo "FROM $base"
        echo "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends $2 && rm -rf /var/lib/apt/lists/*"
        cat
    } >"$context/Dockerfile"
    podman build --quiet --format docker --pull=never --network host --isolation chroot -t "$1" "$context"
    rm -rf "$context"
}

stand_in "$(named redis)" "redis-server redis-tools" <<'DOCKERFILE'
RUN install -d -o redis -g redis /data
USER redis
WORKDIR /data
VOLUME ["/data"]
CMD ["redis-server", "--protected-mode", "no"]
DOCKERFILE

stand_in "$(named haproxy)" haproxy <<'DOCKERFILE'
RUN install -d /usr/local/etc/haproxy
USER haproxy
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
DOCKERFILE

stand_in "$(named prometheus)" prometheus <<'DOCKERFILE'
RUN install -d -o nobody -g nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME ["/prometheus"]
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
DOCKERFILE
