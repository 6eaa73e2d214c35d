#!/usr/bin/env bash
# Builds the wheel, installs it into an empty environment and runs its tests there. Needs maturin, and
# the network for numpy and pytest.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/build.sh" "$work/wheels"
size=$(stat -c %s "$work"/wheels/*.whl)
[ "$size" -lt $((20 << 20)) ] || { echo "the wheel has $size bytes; less than 20 MiB is required" >&2; exit 1; }
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "$work"/wheels/*.whl pytest
cd "$work"
"$work/venv/bin/python" -m pytest -q "$here/tests"
