#!/usr/bin/env bash
# The device's runtime on aarch64, emulated: does it write the golden digest's bytes there, and read them back? `make arm64` runs it.
# Takes Debian's arm64 python3, numpy and Pillow by apt into a folder of its own, and runs them with qemu-user, once for each coder; the one
# in C is made by a cross compiler. Nothing here is changed but that folder. Needs apt, dpkg, qemu-aarch64 and aarch64-linux-gnu-gcc
# (apt-get install qemu-user gcc-aarch64-linux-gnu).
#   tests/arm64.sh FOLDER taskcodec_device.py tables.npz
set -euo pipefail
root=$(mkdir -p "$1" && cd "$1" && pwd) runtime=$(realpath "$2") tables=$(realpath "$3") here=$(cd "$(dirname "$0")" && pwd)
if [ ! -e "$root/system/usr/bin/python3" ]; then
    mkdir -p "$root"/state/lists/partial "$root"/cache/archives/partial "$root"/system
    touch "$root/state/status"
    apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$root/state" -o Dir::State::status="$root/state/status"
        -o Dir::Cache="$root/cache" -o APT::Install-Recommends=false -o APT::Sandbox::User=root)
    "${apt[@]}" update
    "${apt[@]}" --download-only --yes install python3-minimal python3-numpy python3-pil
    for package in "$root"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root/system"; done
fi
libraries="$root/system/usr/lib/aarch64-linux-gnu/blas:$root/system/usr/lib/aarch64-linux-gnu/lapack" # Debian's alternatives are not set up
arm=(qemu-aarch64 -L "$root/system" -E "LD_LIBRARY_PATH=$libraries" -E "PYTHONHOME=$root/system/usr" -E PYTHONDONTWRITEBYTECODE=1 -E OPENBLAS_NUM_THREADS=1)
python="$root/system/usr/bin/python3"
"${arm[@]}" "$python" -c 'import platform, sys, numpy; print(platform.machine(), "Python", sys.version.split()[0], "numpy", numpy.__version__)'
mkdir -p "$root/bin" && ln -sf "$(command -v aarch64-linux-gnu-gcc)" "$root/bin/cc"
for coder in numpy c; do
    echo $coder $(PATH="$root/bin:$PATH" "${arm[@]}" "$python" "$here/recorded.py" "$runtime" "$tables" "$coder")
done
