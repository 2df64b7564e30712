#!/bin/sh
# Installs a wheel in a fresh environment outside the checkout and uses it: test_wheel.sh PYTHON WHEEL.
#
# Its dependencies are those that the wheel declares, in the versions of requirements.lock, so that one
# that only the development tools bring is missed here.
set -eu
python=$1
checkout=$(cd "$(dirname "$0")/.." && pwd)
wheel=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

sed -e 's/ *\\$//' -e '/--hash=/d' "$checkout/requirements.lock" > "$place/versions.txt"
"$python" -m venv "$place/venv"
"$place/venv/bin/python" -m pip --disable-pip-version-check install --quiet --constraint "$place/versions.txt" "$wheel"
"$place/venv/bin/python" -m pip --disable-pip-version-check check

cp "$checkout/configs/fashion_mnist_mini.py" "$place/config.py"
cd "$place"
unset PYTHONPATH
export XDG_CACHE_HOME="$place/cache" PATH="$place/venv/bin:$PATH"
set -x
python -c 'import sys, xception_jax; assert xception_jax.__file__.startswith(sys.prefix), xception_jax.__file__'
xception-jax --version
xception-jax --help > help.txt
grep -q sweep help.txt
xception-jax train config.py --workdir run data.train_examples=128 train.batch_size=64 train.epochs=1 model.middle_modules=0
xception-jax report run
test -s run/report/index.html
