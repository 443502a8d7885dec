#!/bin/sh
# Lays the Triton server of the nvidia-pytriton wheel out as NVIDIA's image has it: bin, lib and backends, the
# Python backend with its stub for Python 3.11.
#   wheel-triton.sh SITE_PACKAGES TARGET
set -eu
server=$1/pytriton/tritonserver
mkdir -p "$2/backends"
ln -s "$server/bin" "$2/bin"
ln -s "$1/nvidia_pytriton.libs" "$2/lib"
cp -r "$server/backends/python" "$2/backends/python"
cp "$server/python_backend_stubs/3.11/triton_python_backend_stub" "$2/backends/python/"
