#!/usr/bin/env bash
# Adds this machine as a console to the Deckport collector at @AUTHORITY@.
#
#   curl … | bash                      asks for the code that the app shows under "Add consoles"
#   curl … | bash -s -- --dry-run      says what it would do, and does nothing
#   curl … | bash -s -- --uninstall    takes the agent off this machine
#   --code-file FILE                   reads the code from a file
#   --name NAME                        the console's name, instead of the host name
#   --no-deploy                        adds the console and deploys nothing yet
#
# It is one function, called in the very last lines, and all of it stands in one pair of braces: cut off anywhere, it does nothing.

{
deckport_console() {
  set -eu
  local authority='@AUTHORITY@' pin='@PIN@'
  local dry_run='' uninstall='' code_file='' name='' deploy=1
  while [ "$#" -gt 0 ]; do
    case "$1" in
      --dry-run) dry_run=1 ;;
      --uninstall) uninstall=1 ;;
      --no-deploy) deploy='' ;;
      --code-file | --name)
        if [ "$#" -lt 2 ]; then
          echo "deckport: $1 needs a value" >&2
          return 2
        fi
        if [ "$1" = --name ]; then name=$2; else code_file=$2; fi
        shift
        ;;
      *)
        echo "deckport: $1 is not known here; --dry-run, --uninstall, --code-file FILE, --name NAME and --no-deploy are" >&2
        return 2
        ;;
    esac
    shift
  done

  local bin
  if [ "${EUID:-1}" = 0 ]; then
    bin=/usr/local/bin/deckport-agent
  elif [ -n "${HOME:-}" ]; then
    bin=$HOME/.local/bin/deckport-agent
  else
    echo "deckport: HOME is not set, and the agent goes there; set it, or run this as root" >&2
    return 1
  fi

  if [ -n "$uninstall" ]; then
    if ! [ -x "$bin" ]; then
      echo "deckport: there is no $bin, so nothing was removed; as another user (root, say) there may be one" >&2
      return 1
    fi
    echo "deckport: this stops the agent and removes $bin. What was installed with it stays."
    if [ -n "$dry_run" ]; then return 0; fi
    "$bin" service uninstall --forget
    rm -f "$bin"
    echo "deckport: done. Remove the console in the app as well."
    return 0
  fi

  local sha256='' arch=${HOSTTYPE:-}
  if arch_said=$(uname -m 2>/dev/null); then arch=$arch_said; fi
  case "$arch" in
    '@ARCHITECTURE@') sha256='@SHA256@' ;;
    *)
      echo "deckport: the collector at $authority has no agent for this machine ($arch)." >&2
      return 1
      ;;
  esac

  echo "deckport: this adds the machine as a console to the collector at $authority:"
  echo "  1. gets the agent ($arch) from there and checks its hash, $sha256"
  echo "  2. puts it at $bin"
  echo "  3. makes a key here and has it certified, for the code that the app shows"
  if [ "${EUID:-1}" = 0 ]; then
    echo "  4. has systemd start the agent now and at each boot"
  else
    echo "  4. (not run as root: the agent does not start at boot)"
  fi
  if [ -n "$deploy" ]; then echo "  5. runs the deployment of the console's template"; fi
  if [ -n "$dry_run" ]; then
    echo "deckport: nothing was done (--dry-run)."
    return 0
  fi

  local got
  got=$(mktemp)
  # shellcheck disable=SC2064 # the name as it is now
  trap "rm -f '$got'" EXIT
  # -k: the certificate is of the collector's own authority; what counts is the pinned key.
  if ! curl -fsSk --proto '=https' --tlsv1.3 --pinnedpubkey "$pin" -o "$got" "https://$authority/deploy/agent/$arch"; then
    echo "deckport: the agent could not be got from $authority." >&2
    return 1
  fi
  local found
  found=$(sha256sum "$got")
  found=${found%% *}
  if [ "$found" != "$sha256" ]; then
    echo "deckport: what came is not the agent that this script knows (its hash is $found), so it was not installed. Try again; if it happens again, somebody may have tampered with it." >&2
    return 1
  fi
  mkdir -p "${bin%/*}"
  chmod 0755 "$got"
  # Moved there beside the old one and put in its place at once: an agent that runs is not disturbed.
  cp "$got" "$bin.new"
  chmod 0755 "$bin.new"
  mv -f "$bin.new" "$bin"

  set -- enrol --collector "https://$authority#$pin"
  if [ -n "$code_file" ]; then set -- "$@" --code-file "$code_file"; fi
  if [ -n "$name" ]; then set -- "$@" --name "$name"; fi
  "$bin" "$@"
  if [ "${EUID:-1}" = 0 ]; then
    "$bin" service install || echo "deckport: the console is added all the same." >&2
  fi
  if [ -n "$deploy" ]; then
    "$bin" deploy </dev/null
  fi
}

deckport_console "$@"
exit
}
