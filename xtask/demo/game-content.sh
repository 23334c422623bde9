#!/usr/bin/env bash
# Demo console "Bay 2": an installer in the style of version 1. It knows nothing of Deckport: colours, banners and a
# progress bar that redraws its line. It really makes, packs, checks and unpacks data, in a folder of its own.
set -euo pipefail

PREFIX=$(mktemp -d)
PACKS=${PACKS:-24}
trap 'rm -rf "$PREFIX"' EXIT

if [ -t 1 ]; then
  RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' BLUE=$'\e[1;34m' RESET=$'\e[0m'
else
  RED='' GREEN='' YELLOW='' BLUE='' RESET=''
fi

banner() { printf '\n%s=== %s ===%s\n' "$BLUE" "$1" "$RESET"; }
log()    { printf '[%s] %s[INFO]%s  %s\n' "$(date +%H:%M:%S)" "$GREEN" "$RESET" "$1"; }
warn()   { printf '[%s] %s[WARN]%s  %s\n' "$(date +%H:%M:%S)" "$YELLOW" "$RESET" "$1"; }
die()    { printf '[%s] %s[ERROR]%s %s\n' "$(date +%H:%M:%S)" "$RED" "$RESET" "$1" >&2; exit 1; }

bar() { # done of-all label
  local width=30 filled
  filled=$(( width * $1 / $2 ))
  printf '\r  %-24s [%s%s] %3d%%' "$3" "$(printf '#%.0s' $(seq 1 "$filled"))" \
    "$(printf '%*s' $(( width - filled )) '')" $(( 100 * $1 / $2 ))
}

echo "--- Check hardware"
banner "DECKPORT CONSOLE INSTALLER 1.8.2"
log "kernel $(uname -r) on $(uname -m)"
log "processors: $(nproc)"
log "memory: $(awk '/MemTotal/ {printf "%.1f GB", $2 / 1048576}' /proc/meminfo)"
free_kb=$(df --output=avail -k "$PREFIX" | tail -n 1)
[ "$free_kb" -gt 524288 ] || die "at least 512 MB must be free in $PREFIX"
log "disk: $(( free_kb / 1048576 )) GB free"
[ -d /sys/class/nfc ] || warn "no NFC reader was found; card log-in will be off"

echo "--- Prepare folders"
banner "Folders"
for dir in bin etc/deckport lib/systemd content/packs content/installed cache log; do
  mkdir -p "$PREFIX/$dir"
  log "made /opt/deckport/$dir"
done

echo "--- Build content packs"
banner "Content packs"
for n in $(seq 1 "$PACKS"); do
  pack=$PREFIX/content/packs/pack-$(printf '%02d' "$n")
  mkdir -p "$pack"
  for part in $(seq 1 6); do
    head -c 1500000 /dev/urandom | base64 > "$pack/level-$part.dat"
    bar $(( (n - 1) * 6 + part )) $(( PACKS * 6 )) "pack-$(printf '%02d' "$n")/level-$part"
  done
  (cd "$pack" && sha256sum level-*.dat > SHA256SUMS)
done
printf '\n'
log "$PACKS packs, $(du -sh "$PREFIX/content/packs" | cut -f1)"

echo "--- Pack and sign"
banner "Compress"
for pack in "$PREFIX"/content/packs/pack-*; do
  name=$(basename "$pack")
  tar -C "$PREFIX/content/packs" -czf "$PREFIX/cache/$name.tar.gz" "$name"
  rm -rf "$pack"
  log "$name.tar.gz $(stat -c %s "$PREFIX/cache/$name.tar.gz") bytes, sha256 $(sha256sum "$PREFIX/cache/$name.tar.gz" | cut -c1-16)"
done

echo "--- Install content"
banner "Install"
done_packs=0
for archive in "$PREFIX"/cache/*.tar.gz; do
  tar -C "$PREFIX/content/installed" -xzf "$archive"
  done_packs=$(( done_packs + 1 ))
  bar "$done_packs" "$PACKS" "$(basename "$archive")"
done
printf '\n'

echo "--- Verify"
banner "Verify checksums"
for pack in "$PREFIX"/content/installed/pack-*; do
  (cd "$pack" && sha256sum --check SHA256SUMS | sed "s|^|$(basename "$pack")/|")
done
cat > "$PREFIX/etc/deckport/console.conf" <<CONF
prefix = /opt/deckport
packs = $PACKS
installed = $(date +%FT%T%z)
CONF
log "wrote /opt/deckport/etc/deckport/console.conf"
log "$(find "$PREFIX/content/installed" -type f | wc -l) files installed and verified"
banner "DONE. Reboot the console to play."
