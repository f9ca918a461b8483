# For a release, pin the base here for both stages: python:3.11-slim@sha256:…
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
# Built with the base's own pip, so that the venv, which is all that goes on, holds neither pip nor build tools.
RUN python -m venv --without-pip /venv
COPY requirements.runtime.lock.txt requirements.build.lock.txt ./
RUN pip --python /venv/bin/python install --require-hashes --only-binary :all: --requirement requirements.runtime.lock.txt \
 && pip install --require-hashes --only-binary :all: --requirement requirements.build.lock.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheels . \
 && pip --python /venv/bin/python install --no-deps --no-index /wheels/idv_gateway-*.whl

FROM ${BASE}
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /venv /venv
# By number, so that a platform can see that it is not root. Nothing that it can write to is part of the image.
USER 10001:10001
WORKDIR /srv
EXPOSE 8000
STOPSIGNAL SIGTERM
# Without urllib: that would send the question through a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "from http.client import HTTPConnection; c = HTTPConnection('127.0.0.1', 8000, timeout=3); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["idv"]
CMD ["serve", "--host", "0.0.0.0"]
