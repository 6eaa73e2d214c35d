#!/usr/bin/env bash
# Installs the runtime for C and C++ (Linux): c/install.sh PREFIX
#
#   include/releq.h, releq.hpp      lib/libreleq.so.0.1.0 (soname libreleq.so.0), libreleq.a
#   lib/pkgconfig/releq.pc          lib/cmake/releq/releqConfig.cmake
#
# The shared library is linked from the static one, so that it has a soname and shows the functions of releq.h alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefix=$(realpath -m "${1:?"usage: c/install.sh PREFIX"}")
target=${CARGO_TARGET_DIR:-$here/../target}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml")
soname=libreleq.so.${version%%.*}

if [ -z "${RELEQ_NO_BUILD:-}" ]; then
    cargo build --release --manifest-path "$here/../Cargo.toml" -p releqc-runtime
fi

mkdir -p "$prefix"/{include,lib/pkgconfig,lib/cmake/releq}
cp "$here"/../include/releq.{h,hpp} "$prefix/include/"
cp "$target/release/libreleqc_runtime.a" "$prefix/lib/libreleq.a"
symbols=$(grep -o 'releq_[a-z0-9_]*(' "$here/../include/releq.h" | tr -d '(' | sort -u)
${CC:-cc} -shared -o "$prefix/lib/libreleq.so.$version" -Wl,-soname,"$soname" -Wl,--version-script="$here/exports.map" \
    -Wl,--gc-sections -Wl,-s $(printf -- '-Wl,-u,%s ' $symbols) "$prefix/lib/libreleq.a" -lpthread -ldl -lm
ln -sf "libreleq.so.$version" "$prefix/lib/$soname"
ln -sf "$soname" "$prefix/lib/libreleq.so"
for file in releq.pc releqConfigVersion.cmake; do
    case $file in *.pc) to=lib/pkgconfig ;; *) to=lib/cmake/releq ;; esac
    sed "s|@prefix@|$prefix|; s|@version@|$version|" "$here/$file.in" > "$prefix/$to/$file"
done
cp "$here/releqConfig.cmake" "$prefix/lib/cmake/releq/"
