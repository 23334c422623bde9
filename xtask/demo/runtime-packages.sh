#!/usr/bin/env bash
# Demo console "Bay 3": apt-get install of a package that cannot be installed, since what it depends on does not exist.
#
# Safe on the machine that runs it: apt gets a state, cache and source list of its own in a temporary folder, and no
# dpkg to call. Only apt's own programs and the answer are real.
set -euo pipefail

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/repository" "$root/state/lists/partial" "$root/cache/archives/partial" "$root/etc/apt.conf.d" \
  "$root/etc/preferences.d" "$root/log"

cat > "$root/repository/Packages" <<'PACKAGES'
Package: arcade-runtime
Version: 2.4.1-1
Architecture: all
Maintainer: Deckport demo <demo@deckport.invalid>
Depends: arcade-audio (>= 3.0), libcabinet-io5 (>= 5.2)
Filename: ./arcade-runtime_2.4.1-1_all.deb
Size: 48211034
SHA256: 8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4
Description: run-time of the arcade cabinets

Package: arcade-audio
Version: 3.0.2-1
Architecture: all
Maintainer: Deckport demo <demo@deckport.invalid>
Filename: ./arcade-audio_3.0.2-1_all.deb
Size: 1204822
SHA256: 3a7bd3e2360a3d29eea436fcfb7e44c735d117c42d1c1835420b6b9942dd4f1b
Description: sound of the arcade cabinets
PACKAGES
{
  echo "Suite: ./"
  echo "Codename: ./"
  echo "Date: $(LC_ALL=C date --utc +"%a, %d %b %Y %H:%M:%S UTC")"
  echo "SHA256:"
  echo " $(sha256sum "$root/repository/Packages" | cut -d' ' -f1) $(stat -c %s "$root/repository/Packages") Packages"
} > "$root/repository/Release"
echo "deb [trusted=yes] file:$root/repository ./" > "$root/etc/sources.list"
cp /var/lib/dpkg/status "$root/state/status" 2>/dev/null || : > "$root/state/status"

apt() {
  apt-get -o Dir::State="$root/state" -o Dir::State::status="$root/state/status" -o Dir::Cache="$root/cache" \
    -o Dir::Etc="$root/etc" -o Dir::Etc::parts="$root/etc/apt.conf.d" -o Dir::Etc::sourcelist="$root/etc/sources.list" \
    -o Dir::Etc::sourceparts=/dev/null -o Dir::Log="$root/log" -o Dir::Bin::dpkg=/bin/false \
    -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" "$@"
}

deckport_phase() { echo "::group::$1"; }

deckport_phase "Check the console"
echo "architecture $(dpkg --print-architecture), $(grep -c '^Package: ' "$root/state/status") packages installed"
lscpu 2>/dev/null | grep -E '^(Model name|CPU\(s\))' || true
df -h / | tail -n 1
echo "::endgroup::"

deckport_phase "Verify the base system"
mapfile -t installed < <(dpkg-query --show --showformat '${Package}\n')
for package in "${installed[@]:0:150}"; do
  if dpkg --verify "$package" > "$root/changed"; then
    echo "verified $package"
  else
    echo "warning: $package has changed files: $(wc -l < "$root/changed")"
  fi
done
echo "::endgroup::"

deckport_phase "Refresh package lists"
apt update
echo "::endgroup::"

deckport_phase "Install run-time packages"
apt install --yes arcade-runtime
echo "::endgroup::"

deckport_phase "Start services"
echo "starting arcade-runtime.service"
