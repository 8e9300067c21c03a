# An image that contains synthct itself and predicts on a CPU; it needs no checkout.
#   pip wheel --no-deps --wheel-dir dist .
#   docker build -f infra/images/predict.Dockerfile -t synthct-predict:0.1.0 .
# The wheel contains no scans or results (tests/api/test_wheel.py). The checkout may contain some,
# so it is not copied.
FROM python:3.11-slim-bookworm AS build
WORKDIR /opt/synthct
COPY locks locks
COPY infra/local/install.sh infra/local/install.sh
COPY dist/synthct-*.whl dist/
RUN PIP_NO_CACHE_DIR=1 PYTHON=python3.11 infra/local/install.sh /opt/venv predict \
    && /opt/venv/bin/python -m pip install --no-cache-dir --no-deps --no-index dist/synthct-*.whl \
    && /opt/venv/bin/python -m pip check

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 synthct \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin synthct
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["synthct"]
CMD ["--help"]
