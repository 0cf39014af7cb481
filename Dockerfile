# vggkit with the Vulkan loader and Mesa's drivers. The tests of this repository do not build this file.
#
#   docker build -t vggkit .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" vggkit prepare --demo
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" vggkit train --data data/demo
#
# Cards of AMD and Intel need --device /dev/dri; those of NVIDIA need --gpus all and NVIDIA's container toolkit, which brings the
# driver. `docker run ... vggkit devices` says which are seen; without any, --engine auto takes the CPU.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN make build && make install DESTDIR=/installed PREFIX=/usr

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libvulkan1 mesa-vulkan-drivers \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 vggkit
COPY --from=build /installed /
# NVIDIA's toolkit mounts its Vulkan driver where graphics are asked for. What is kept for speed may go with the container, and
# anybody's user may write it.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility \
    VGGKIT_CACHE=/tmp/vggkit \
    XDG_RUNTIME_DIR=/tmp
USER vggkit
WORKDIR /work
ENTRYPOINT ["vggkit"]
CMD ["--help"]
