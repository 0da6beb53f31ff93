# Sourced by the other scripts: makes the environment `.venv`, and installs into it what a script needs.

PYTHON=.venv/bin/python

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

is_suitable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

make_environment() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3; do
        is_suitable "$candidate" || continue
        "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
            fail "$candidate lacks the module venv. Install it, on Debian and Ubuntu with: apt-get install python3-venv"
        echo "Making .venv with $candidate." >&2
        rm -rf .venv
        "$candidate" -m venv .venv
        # Dependency groups take pip 25.1.
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
        return
    done
    fail "This takes Python 3.11 or newer. Install it, and run this again."
}

# need NAME ARGUMENT...: runs `pip install ARGUMENT...` once, and again when pyproject.toml has changed.
need() {
    local name=$1 stamp
    shift
    # An environment that was never finished has the pip of its Python.
    is_suitable "$PYTHON" && "$PYTHON" -c '
import pip, sys
sys.exit([int(part) for part in pip.__version__.split(".")[:2]] < [25, 1])
' >/dev/null 2>&1 || make_environment
    stamp=$("$PYTHON" -c '
import hashlib, pathlib, sys
print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes() + repr((sys.version, sys.argv)).encode()).hexdigest())
' "$PWD" "$@")
    if [ "$(cat ".venv/.installed-$name" 2>/dev/null)" != "$stamp" ]; then
        echo "Installing what scripts/$name needs. This happens once." >&2
        "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@"
        printf '%s\n' "$stamp" >".venv/.installed-$name"
    fi
}
