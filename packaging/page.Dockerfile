# The page's other two images, as packaging/pods needs them: `--target httpbin`, `--target curl`.
ARG BASE

FROM ${BASE} AS httpbin
ARG PIP_FIND_LINKS PIP_NO_INDEX
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-venv >/dev/null
RUN python3 -m venv /opt/httpbin && /opt/httpbin/bin/pip install -q --no-cache-dir --root-user-action=ignore httpbin gunicorn
ENV PATH=/opt/httpbin/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1

FROM ${BASE} AS curl
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends curl >/dev/null
