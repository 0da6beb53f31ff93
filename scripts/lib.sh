# Sourced by the other scripts: creates an environment, and installs what a script needs.

ENVIRONMENT=${ENVIRONMENT:-.venv}
PYTHON=$ENVIRONMENT/bin/python

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
        echo "Creating $ENVIRONMENT with $candidate." >&2
        rm -rf "$ENVIRONMENT"
        "$candidate" -m venv "$ENVIRONMENT"
        # Dependency groups need pip 25.1.
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
        return
    done
    fail "Python 3.11 or newer is required. Install it, then run this again."
}

ensure_environment() {
    # An unfinished environment still has the pip that came with Python.
    is_suitable "$PYTHON" && "$PYTHON" -c '
import pip, sys
sys.exit([int(part) for part in pip.__version__.split(".")[:2]] < [25, 1])
' >/dev/null 2>&1 || make_environment
}

# need NAME ARGUMENT...: runs `pip install ARGUMENT...` once, and again whenever pyproject.toml changes.
need() {
    local name=$1 stamp
    shift
    ensure_environment
    stamp=$("$PYTHON" -c '
import hashlib, pathlib, sys
print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes() + repr((sys.version, sys.argv)).encode()).hexdigest())
' "$PWD" "$@")
    if [ "$(cat "$ENVIRONMENT/.installed-$name" 2>/dev/null)" != "$stamp" ]; then
        echo "Installing what scripts/$name needs. This happens only once." >&2
        "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@"
        printf '%s\n' "$stamp" >"$ENVIRONMENT/.installed-$name"
    fi
}
