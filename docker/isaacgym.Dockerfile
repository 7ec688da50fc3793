# IsaacGym in a Python 3.8 of its own, beside what dppo:gpu has. See docker/README.md.
# The image holds NVIDIA's software, whose licence forbids to pass it on: keep it to yourself.

ARG BASE=dppo:gpu
# hadolint ignore=DL3006
FROM ${BASE}
USER 0:0
# IsaacGym compiles a module of its own when it is first imported, and draws with Vulkan, for which the
# host's container toolkit has to bring the driver's graphics, too.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential git libgl1 libvulkan1 \
    && rm -rf /var/lib/apt/lists/*

ARG UV=0.9.5
ARG SIMULATORS_PYTHON=3.8.20
RUN pip install --no-cache-dir "uv==${UV}" \
    && UV_PYTHON_INSTALL_DIR=/opt/python uv python install "${SIMULATORS_PYTHON}" \
    && UV_PYTHON_INSTALL_DIR=/opt/python uv venv --python "${SIMULATORS_PYTHON}" /opt/simulator

# NumPy below 1.24: IsaacGym still uses np.float. The fork may ask for gym 0.21, whose metadata uv and
# newer pip refuse and newer setuptools cannot build.
RUN uv pip install --no-cache --python /opt/simulator/bin/python \
    torch==2.4.0 "numpy<1.24" ninja ipdb "pip<24.1" setuptools==65.5.0 wheel==0.38.4

# The user's own: docker build --build-context isaacgym=DIRECTORY
# hadolint ignore=DL3022
COPY --from=isaacgym IsaacGym_Preview_4_Package.tar.gz /tmp/
RUN tar --extract --gzip --file /tmp/IsaacGym_Preview_4_Package.tar.gz --directory /opt \
    && rm /tmp/IsaacGym_Preview_4_Package.tar.gz \
    && uv pip install --no-cache --python /opt/simulator/bin/python --editable /opt/isaacgym/python

ARG FORK=https://github.com/ankile/furniture-bench
ARG FORK_REVISION=main
RUN git clone "${FORK}" /opt/furniture-bench \
    && git -C /opt/furniture-bench checkout "${FORK_REVISION}" \
    && /opt/simulator/bin/python -m pip install --no-cache-dir \
        --editable /opt/furniture-bench "numpy<1.24"

ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics
ENV DPPO_ISAACGYM_PYTHON=/opt/simulator/bin/python
USER 1000:1000
