# For a release, with a digest: docker build --build-arg BASE=python:3.11-slim@sha256:… .
ARG BASE=python:3.11-slim

FROM ${BASE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
# Filled by the base's own pip, so that the venv, which is all that goes on, holds neither pip nor build tools.
RUN python -m venv --without-pip /venv
COPY requirements.runtime.lock.txt ./
RUN pip --python /venv/bin/python install --require-hashes --only-binary :all: --requirement requirements.runtime.lock.txt

FROM dependencies AS application
COPY requirements.build.lock.txt ./
RUN pip install --require-hashes --only-binary :all: --requirement requirements.build.lock.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
# Laid apart from the dependencies, so that a new version of ours is a small layer of its own.
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheels . \
 && pip --python /venv/bin/python install --no-deps --no-index --root /application /wheels/idv_gateway-*.whl

FROM ${BASE}
# The base's pip, and the copy of it that Python carries: whoever gets in finds nothing here that fetches more.
RUN pip uninstall --yes --root-user-action=ignore pip setuptools wheel \
 && rm -r "$(python -c 'import ensurepip; print(*ensurepip.__path__)')"
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=dependencies /venv /venv
COPY --chmod=755 deploy/probe /usr/local/bin/probe
COPY --from=application /application/venv /venv
# By number, so that a platform can see that it is not root. Nothing that it can write to is part of the image.
USER 10001:10001
WORKDIR /srv
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["probe", "8000", "/healthz"]
ENTRYPOINT ["idv"]
CMD ["serve", "--host", "0.0.0.0"]

ARG BASE
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="IDV Gateway" \
      org.opencontainers.image.description="Identity verification at login, for any identity provider, over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
