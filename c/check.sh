#!/usr/bin/env bash
# Installs into a temporary prefix, builds the example by CMake and by pkg-config, and compares what
# the programs print with each other: floats and pixels, shared and static library, C and C++.
# c/check.sh RELEQC, the command that compiles the network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
releqc=$(realpath "${1:?"usage: c/check.sh RELEQC"}")
for tool in cmake pkg-config; do
    command -v $tool >/dev/null || { echo "skipped: no $tool"; exit 0; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/install.sh" "$work/prefix"
"$releqc" "$here/../models/tiny_chain.onnx" -o "$work/m.rq" --bits 4 --quiet
readelf -d "$work/prefix/lib/libreleq.so" | grep -q 'SONAME.*libreleq\.so\.0'
if nm -D --defined-only "$work/prefix/lib/libreleq.so" | grep -v ' releq_\| RELEQ_0'; then
    echo "the shared library shows more than releq.h" >&2
    exit 1
fi

cmake -S "$here/example" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_FLAGS="-Wall -Wextra -Werror" -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror -pedantic" >/dev/null
cmake --build "$work/build" >/dev/null
export PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig
${CC:-cc} "$here/example/classify.c" $(pkg-config --cflags --libs releq) -Wl,-rpath,"$work/prefix/lib" \
    -o "$work/build/by_pkg_config"
# The program that README.md shows, as it stands there.
sed -n '/^```c$/,/^```$/p' "$here/../README.md" | sed '1d;$d' > "$work/readme.c"
grep -q releq_session_run "$work/readme.c"
${CC:-cc} -Wall -Wextra -Werror "$work/readme.c" $(pkg-config --cflags --libs releq) -Wl,-rpath,"$work/prefix/lib" \
    -o "$work/build/readme"
cp "$work/m.rq" "$work/model.rq"
(cd "$work" && build/readme) | grep -Eq '^-?[0-9]'
"$work/build/classify" "$work/m.rq" > "$work/expected"
# Pixels as they are give what their values give, and something.
cmp <(head -n 2 "$work/expected") <(tail -n 2 "$work/expected")
[ "$(tr ' ' '\n' < "$work/expected" | sort -u | wc -l)" -gt 3 ]
for program in classify_static classify_cpp by_pkg_config; do
    "$work/build/$program" "$work/m.rq" | cmp - "$work/expected"
done
if "$work/build/classify_cpp" "$work/prefix/include/releq.h" 2>"$work/said"; then exit 1; fi
grep -q . "$work/said"
echo "C and C++ examples: built by CMake and pkg-config, the same outputs from all; the program of README.md runs"
