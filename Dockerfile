# The sidecar's image; capture's init container is the same image with another command. See docs/compose.md, docs/kubernetes.md.
# `docker build -t meshcar:0.1.0 .`, or `make image` where there is neither Docker nor a registry.
ARG BASE=debian:bookworm-slim
# PYTHONNODEBUGRANGES, in both stages: code without columns for tracebacks takes 1 MiB less memory. PYTHONOPTIMIZE=2 would take 2.8 MiB off
# besides, but --help would lose its texts, and every library its asserts.

FROM ${BASE} AS build
# empty: from the index; `make image` gives a mounted folder of wheels
ARG PIP_FIND_LINKS PIP_NO_INDEX
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends gcc python3-dev python3-venv >/dev/null
WORKDIR /src
COPY . .
ENV PYTHONNODEBUGRANGES=1
RUN python3 -m venv /opt/meshcar \
 && /opt/meshcar/bin/pip install -q --no-cache-dir --root-user-action=ignore . \
 && /opt/meshcar/bin/pip uninstall -qy pip setuptools --root-user-action=ignore \
 && find /opt/meshcar/lib -type d -name test -path '*/twisted/*' -prune -exec rm -r {} + \
 # twistd's list of plugins, written now: nobody may write here later
 && cd / && /opt/meshcar/bin/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'

FROM ${BASE}
ENV PYTHONNODEBUGRANGES=1
RUN apt-get -qq update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3 iptables iproute2 ca-certificates >/dev/null \
 && python3 -m compileall -qf /usr/lib/python3.* >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* \
 && groupadd --gid 1337 meshcar \
 && useradd --uid 1337 --gid 1337 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin meshcar \
 && install -d -o 1337 -g 1337 -m 0750 /run/meshcar
COPY --from=build /opt/meshcar /opt/meshcar
ENV PATH=/opt/meshcar/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="meshcar" \
      org.opencontainers.image.description="A service-mesh sidecar in Python: Istio's rules, mutual TLS, mirroring" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"

USER 1337:1337
WORKDIR /
EXPOSE 15001 15006 15020 15021 15090
# asks where MESHCAR_ADMIN says, else 127.0.0.1:15000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["meshcar", "wait", "--timeout", "1"]
ENTRYPOINT ["twistd", "--nodaemon", "--pidfile=", "meshcar"]
