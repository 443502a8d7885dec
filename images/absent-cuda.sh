#!/bin/sh
# Makes PyPI's torch load without the 3 GB of CUDA libraries that it is linked to, for images that run on CPUs.
# Each library that is missing becomes a link to one small library, which defines every function that torch
# would look for there. A call of one says what is wrong and ends the process; torch makes none without a GPU.
#   absent-cuda.sh SITE_PACKAGES
set -eu
cd "$1/torch/lib"
work=$(mktemp -d)
# libcuda belongs to the driver: torch looks for it at run time, and must not find it.
ldd ./*.so | awk '/not found/ && $1 !~ /^libcuda\.so/ {print $1}' | sort -u > "$work/libraries"
nm --dynamic --undefined-only ./*.so | awk 'NF == 2 {sub(/@.*/, "", $2); print $2}' |
  grep -E '^(cublas|cudnn|cufft|cusolver|cusparse|nccl|nvrtc|nvshmem)' | sort -u > "$work/functions"
cat > "$work/absent.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
void absent(void) {
  fputs("a CUDA library was called, and this image has none: use the engine image for GPUs\n", stderr);
  abort();
}
C
sed 's/.*/-Wl,--defsym=&=absent/' "$work/functions" > "$work/options"
gcc -shared -fPIC -Os "$work/absent.c" "@$work/options" -o libabsent_cuda.so
while read -r library; do ln -s libabsent_cuda.so "$library"; done < "$work/libraries"
echo "absent: $(wc -l < "$work/functions") functions of $(tr '\n' ' ' < "$work/libraries")"
rm -rf "$work"
