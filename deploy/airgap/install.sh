#!/bin/sh
# Installs Weighbridge from this folder, without a network and without root rights where FOLDER can be written.
#   ./install.sh [FOLDER]     default /opt/weighbridge; PYTHON=/path/to/python chooses the interpreter
set -eu
cd "$(dirname "$0")"
folder=${1:-/opt/weighbridge}
read -r version machine <FOR
fail() { printf 'install.sh: %s\n' "$1" >&2; exit 1; }

[ "$(uname -m)" = "$machine" ] || fail "these files are for $machine, this machine is $(uname -m); make them again with scripts/airgap --machine $(uname -m)"
sha256sum --quiet --check SHA256SUMS || fail "a file is not the one that was packed; copy the folder again. Nothing was installed."
python=${PYTHON:-}
if [ -z "$python" ]; then
  for name in "python$version" python3; do
    if command -v "$name" >/dev/null && [ "$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$version" ]; then
      python=$name
      break
    fi
  done
fi
[ -n "$python" ] || fail "these files are for Python $version, which is not here; install it, or make them again with scripts/airgap --python VERSION"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python has no venv module; Debian and Ubuntu ship it as python$version-venv"

"$python" -m venv "$folder"
# -I and --isolated: no variable and no file of this machine may name another place to install from.
"$folder/bin/python" -I -m pip --isolated install --quiet --disable-pip-version-check --no-index --no-deps \
  --find-links wheels --require-hashes --requirement requirements.txt
"$folder/bin/weighbridge" --version
printf 'Installed into %s. Next: %s/bin/weighbridge init --help; running it: docs/production.md\n' "$folder" "$folder"
