#!/bin/sh
# Makes installed packages smaller: takes the symbols out of their extension modules, and their tests away.
# Every library must load afterwards. Those that wheels bundle (NAME.libs) came without symbols.
#   slim.sh SITE_PACKAGES
set -eu
before=$(du -sm "$1" | cut -f1)
find "$1" -type d -name tests -prune -exec rm -r {} +
find "$1" -type f -name '*.so' ! -path '*.libs/*' -exec strip --strip-unneeded {} +
find "$1" -type f -name '*.so*' -exec python3 -c 'import ctypes, sys; [*map(ctypes.CDLL, sys.argv[1:])]' {} +
echo "slim: $before MB became $(du -sm "$1" | cut -f1)"
