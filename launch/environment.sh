# shellcheck shell=bash
# Sourced by the scripts beside it. Gives them
#   ROOT                            the repository
#   VENV                            the virtual environment; VENV=DIR chooses another than .venv
#   find_python PATTERN             the newest suitable Python of the versions '3.*', or of 3.11
#   prepare_environment FILE...     makes VENV and installs these requirement files, once
#   prepare_to_run                  the same, of what the main job needs
#   flag_value NAME ARGUMENT...     the value of a flag of the command line
#   help_if_asked ARGUMENT...       prints the top of the script and ends, if the first is --help
# PYTHON=PROGRAM chooses the Python that VENV is made with, ACCELERATOR=tpu or =cuda what JAX runs
# on; without it, JAX runs on the CPU unless VENV has more already.

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
DEFAULT_VENV="$ROOT/.venv"
VENV="${VENV:-$DEFAULT_VENV}"
[[ $VENV == /* ]] || VENV="$PWD/$VENV"

PROBE='
import sys
version = sys.version_info[:3]
if not (3, 11) <= version[:2] <= (3, 13):
    sys.exit("it is Python %d.%d.%d" % version)
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        sys.exit("its module %s is missing (Debian, Ubuntu: apt install python3-venv)" % name)
print("%d.%d.%d %s" % (version + (sys.base_prefix,)))
'
TAKE_LOCK='
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("Waiting for another installation into the same environment ...", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
'

say() { printf '%s\n' "$*" >&2; }

help_if_asked() {
  local line
  [[ ${1:-} == --help || ${1:-} == -h ]] || return 0
  while IFS= read -r line && [[ $line == "#"* && $line != "#SBATCH"* ]]; do
    line="${line#"#"}"
    [[ $line == "!"* ]] || printf '%s\n' "${line# }"
  done <"$0"
  exit 0
}

refuse() {
  say "$@"
  exit 2
}

# probe PROGRAM MODULE...: prints "3.12.1 /its/prefix" if PROGRAM is a suitable Python that has the
# modules. Otherwise it fails, and says why on stderr.
probe() {
  if ! type -P -- "$1" >/dev/null; then
    say "there is no such program"
    return 1
  fi
  "$1" -c "$PROBE" "${@:2}" </dev/null
}

# A program of that name may exist and not run (a pyenv shim), so every one on PATH is looked at.
list_pythons() {
  local name program
  for name in python3.13 python3.12 python3.11 python3 python; do
    type -aP "$name" || true
  done
  for program in "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/*/bin/python3; do
    [[ ! -x $program ]] || printf '%s\n' "$program"
  done
}

find_python() {
  local best="" best_minor=0 program found minor
  while IFS= read -r program; do
    found="$(probe "$program" venv ensurepip 2>/dev/null)" || continue
    minor="${found#3.}"
    minor="${minor%%.*}"
    # shellcheck disable=SC2053 # the right side is a pattern
    if [[ 3.$minor == $1 ]] && ((minor > best_minor)); then
      best="$program"
      best_minor="$minor"
    fi
  done < <(list_pythons)
  [[ -n $best ]] && printf '%s\n' "$best"
}

# Prints the probe's answer for an environment that is whole and made with the Python asked for.
probe_environment() {
  local found
  [[ ! -e $VENV/.unfinished ]] || return 1
  found="$(probe "$VENV/bin/python" pip 2>/dev/null)" || return 1
  [[ -z $1 || $1 == "$found" ]] || return 1
  printf '%s\n' "$found"
}

# All that an installation hangs on, since requirement files name others. Kept in VENV, it tells
# whether the installation is out of date.
fingerprint() {
  printf '%s\n' "$1" "$ROOT"
  cat "$ROOT/pyproject.toml" "$ROOT"/requirements*.txt
}

is_installed() {
  local found file
  found="$(probe_environment "$1")" || return 1
  for file in "${@:2}"; do
    [[ -f $VENV/installed/$file ]] || return 1
    [[ "$(<"$VENV/installed/$file")" == "$(fingerprint "$found")" ]] || return 1
  done
}

# Deletes what lies at VENV, so only what is surely an environment may lie there.
make_environment() {
  local python="$1"
  if [[ $VENV != "$DEFAULT_VENV" && -e $VENV && ! -e $VENV/pyvenv.cfg && ! -e $VENV/.unfinished ]] &&
    ! rmdir -- "$VENV" 2>/dev/null; then
    refuse "VENV=$VENV is not a virtual environment. Give an environment, or a folder to be made."
  fi
  say "Making $VENV with $("$python" --version 2>&1) ($python) ..."
  rm -rf -- "$VENV"
  mkdir -p -- "$VENV"
  : >"$VENV/.unfinished"
  "$python" -m venv "$VENV"
}

# An installation that was cut off can leave packages that look whole, so .unfinished stays until
# the end, and an environment that has it is made again.
install_requirements() {
  local found="$1" file
  shift
  : >"$VENV/.unfinished"
  mkdir -p -- "$VENV/installed"
  for file in "$@"; do
    say "Installing $file into $VENV (the first time takes some minutes) ..."
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$ROOT/$file"
  done
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -e "$ROOT"
  for file in "$@"; do
    fingerprint "$found" >"$VENV/installed/$file"
  done
  rm -f -- "$VENV/.unfinished"
}

prepare_environment() {
  local wanted="" python found
  if [[ -n ${PYTHON:-} ]]; then
    wanted="$(probe "$PYTHON" venv ensurepip 2>/dev/null)" ||
      refuse "PYTHON=$PYTHON cannot be used: $(probe "$PYTHON" venv ensurepip 2>&1)." \
        "Python 3.11 to 3.13 with venv and pip is needed."
  fi
  if is_installed "$wanted" "$@"; then
    return
  fi

  if [[ -n $wanted ]]; then
    python="$PYTHON"
  elif probe_environment "" >/dev/null; then
    python="$VENV/bin/python"
  elif ! python="$(find_python '3.*')"; then
    say "No suitable Python was found: 3.11 to 3.13 with venv and pip is needed. Looked at:"
    while IFS= read -r python; do
      say "  $python: $(probe "$python" venv ensurepip 2>&1)"
    done < <(list_pythons)
    refuse "Install one, or name one: PYTHON=/path/to/python3.13 bash $0"
  fi

  # The lock belongs to the open file, so it ends with this script whatever ends it, and Python
  # takes it because not every system has the flock command.
  mkdir -p -- "$(dirname -- "$VENV")"
  exec 9>"$VENV.lock"
  "$python" -c "$TAKE_LOCK"
  if ! is_installed "$wanted" "$@"; then
    if ! found="$(probe_environment "$wanted")"; then
      make_environment "$python"
      found="$(probe "$VENV/bin/python" pip)"
    fi
    install_requirements "$found" "$@"
  fi
  exec 9>&-
}

prepare_to_run() {
  local files=(requirements.txt)
  if [[ -n ${ACCELERATOR:-} ]]; then
    [[ -f $ROOT/requirements-$ACCELERATOR.txt ]] ||
      refuse "ACCELERATOR=$ACCELERATOR: expected tpu or cuda, or none for the CPU."
    files+=("requirements-$ACCELERATOR.txt")
  fi
  prepare_environment "${files[@]}"
}

# Prints the value of the last --NAME=VALUE or --NAME VALUE; fails if there is none.
flag_value() {
  local name="$1" value="" status=1 previous="" argument
  shift
  for argument in "$@"; do
    if [[ $previous == "--$name" || $previous == "-$name" ]]; then
      value="$argument" status=0 argument=""
    elif [[ $argument == "--$name="* || $argument == "-$name="* ]]; then
      value="${argument#*=}" status=0
    fi
    previous="$argument"
  done
  printf '%s\n' "$value"
  return "$status"
}
