# shellcheck shell=bash
# Sourced by the scripts that start a run elsewhere, after environment.sh. Gives them
#   dry_run                         false; set to true, nothing is done, and what would be is printed
#   execute COMMAND...              does it, or prints it as a shell reads it
#   note WORDS...                   in a dry run, prints a comment among the commands
#   quote WORD...                   the words on one line as a shell reads them

# Read by the scripts that source this.
dry_run=false

quote() {
  local word separator=""
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then
      printf '%s%s' "$separator" "$word"
    else
      printf '%s%q' "$separator" "$word"
    fi
    separator=" "
  done
  printf '\n'
}

execute() {
  if $dry_run; then
    quote "$@"
  else
    "$@"
  fi
}

note() {
  ! $dry_run || printf '# %s\n' "$*"
}
