# docker build -t tidegate . && docker run --network host tidegate -L auto://:8080
ARG DEBIAN=bookworm-slim

FROM debian:${DEBIAN} AS build
COPY . /src
RUN /src/dev deb /packages

FROM debian:${DEBIAN}
RUN --mount=from=build,source=/packages,target=/packages \
    apt-get update \
    && apt-get install -y --no-install-recommends /packages/tidegate_*.deb ca-certificates \
    && rm -rf /var/lib/apt/lists/*
USER tidegate
ENTRYPOINT ["/usr/bin/tidegate"]
CMD ["-C", "/etc/tidegate/tidegate.yml"]
