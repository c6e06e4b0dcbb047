#!/usr/bin/env bash
# Downloads data sets and checks them.  ./dataset_setup.sh [SET ...] [--from DIR] [--root DIR]; --help names the sets.
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)"

unset PYTHONSAFEPATH  # with it, Python would not find the files beside setup.py that setup.py imports
for python in "$here/.venv/bin/python" python3; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    exec "$python" "$here/neural_similarity/data/setup.py" "$@"
  fi
done

echo "dataset_setup.sh: no Python 3.10 or later, neither .venv/bin/python nor python3. Install one, then run this again." >&2
exit 2
