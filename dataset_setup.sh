#!/usr/bin/env bash
# Downloads data sets and checks them.  ./dataset_setup.sh [cifar10] [cifar100] [--from DIR] [--root DIR]
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)"

unset PYTHONSAFEPATH  # with it, setup.py would not find download.py beside itself
for python in "$here/.venv/bin/python" python3; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    exec "$python" "$here/neural_similarity/data/setup.py" "$@"
  fi
done

echo "dataset_setup.sh: no Python 3.10 or later, neither .venv/bin/python nor python3. Install one, then run this again." >&2
exit 2
