#!/usr/bin/env bash
# Sets up a machine of the Ray cluster launcher (aws.yaml, gcp.yaml): the package and Ray in ~/venv.
# Runs on every machine, and again whenever the launcher updates one.
set -euo pipefail
cd "$(dirname "$0")/.."

# A new machine may still be busy with its own updates.
apt() { sudo apt-get -o DPkg::Lock::Timeout=300 "$@"; }
apt update
apt install --yes --no-install-recommends python3-venv libegl1 libosmesa6

# The system's Python, not one of the image's own: all machines must have the same.
[ -x ~/venv/bin/pip ] || /usr/bin/python3 -m venv ~/venv

torch=(torch)
if ! nvidia-smi >/dev/null 2>&1; then
    # The wheel of PyPI brings gigabytes of CUDA.
    torch+=(--extra-index-url https://download.pytorch.org/whl/cpu)
fi
~/venv/bin/pip install --quiet --constraint constraints.txt "${torch[@]}"
~/venv/bin/pip install --quiet --constraint constraints.txt '.[mujoco,cluster]'

if ! grep -qs 'venv/bin' ~/.bashrc; then
    echo "export PATH=$HOME/venv/bin:\$PATH RAY_AUTH_MODE=token" >>~/.bashrc
fi
