# The service without torch. EXTRA is `cpu` (default) or `gpu`.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG EXTRA=cpu
WORKDIR /src
RUN python -m venv /opt/mpanet
# Dependencies first, over empty packages: a change of code does not install them again.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN for name in mpanet service model training gallery_index; do \
      mkdir -p $name && touch $name/__init__.py; \
    done \
 && /opt/mpanet/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRA}]" \
 && rm -rf build ./*.egg-info
COPY mpanet mpanet
COPY service service
COPY model model
COPY training training
COPY gallery_index gallery_index
RUN /opt/mpanet/bin/pip install --no-cache-dir --no-deps --force-reinstall . \
 && find /opt/mpanet -name __pycache__ -type d -prune -exec rm -rf {} + \
 && rm -rf /opt/mpanet/lib/python3.*/site-packages/pip* /opt/mpanet/lib/python3.*/site-packages/setuptools*

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin mpanet \
 && install -d -o mpanet -g mpanet /data
COPY --from=build /opt/mpanet /opt/mpanet
ENV PATH=/opt/mpanet/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPANET_MODEL=demo \
    MPANET_DATA=/data \
    MPANET_HOST=0.0.0.0 \
    MPANET_PORT=8000
USER mpanet
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=5 \
  CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ['MPANET_PORT']}/healthz\", timeout=2)"]
ENTRYPOINT ["mpanet"]
CMD ["serve"]
