# One image for every service; docker-compose.yml gives each its command.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/rankloop
ENV PATH=/opt/rankloop/bin:$PATH
RUN pip install --no-cache-dir torch==2.13.0
COPY pyproject.toml constraints.txt README.md ./
COPY alignment alignment
COPY annotation_api annotation_api
COPY workers workers
COPY migrations migrations
RUN pip install --no-cache-dir -c constraints.txt .

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --create-home rankloop && install -d -o rankloop /var/lib/rankloop
COPY --from=build /opt/rankloop /opt/rankloop
# The container's own files are read-only: what libraries write beside their caches goes below /tmp.
ENV PATH=/opt/rankloop/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_DISABLE_TELEMETRY=1 RANKLOOP_HOME=/var/lib/rankloop \
    HF_HOME=/var/lib/rankloop/hub HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache
USER 10001
WORKDIR /var/lib/rankloop
CMD ["rankloop", "--help"]
