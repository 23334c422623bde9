#!/usr/bin/env bash
# Demo console "Bay 1": installs the packages of a real web front end with npm, from the registry.
set -euo pipefail

source_dir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "::group::Check the console"
echo "node $(node --version), npm $(npm --version)"
df -h "$work" | tail -n 1
echo "::endgroup::"

echo "::group::Fetch and install packages"
cp "$source_dir/package.json" "$source_dir/package-lock.json" "$work/"
cd "$work"
npm ci --no-audit --no-fund --loglevel=http --cache "$work/.npm"
echo "::endgroup::"

echo "::group::Verify"
npm ls --depth=0
echo "$(find node_modules -type f | wc -l) files, $(du -sh node_modules | cut -f1)"
echo "::endgroup::"
