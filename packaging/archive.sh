#!/bin/sh
# Packs a built program for people without Rust: archive.sh BINARY GENERATOR TARGET FOLDER
#
# BINARY goes into FOLDER/vggkit-<version>-<TARGET>.tar.gz with man pages, completions, licences and documents. GENERATOR makes
# the pages: the same program, built for this machine. The same files give the same bytes: sorted, with the time of the last
# commit (or SOURCE_DATE_EPOCH), nobody's and with plain permissions. It builds nothing.
set -eu

test $# = 4 || { echo "usage: $0 BINARY GENERATOR TARGET FOLDER" >&2; exit 2; }
binary=$1 generator=$2 target=$3 folder=$4
root=$(cd "$(dirname "$0")/.." && pwd)

# Only GNU tar can sort; on a Mac it is called gtar.
if command -v gtar >/dev/null; then tar=gtar; else tar=tar; fi
$tar --version 2>/dev/null | grep -q GNU || { echo "GNU tar is missing (on a Mac: brew install gnu-tar)" >&2; exit 1; }

version=$("$generator" --version | cut -d' ' -f2)
name=vggkit-$version-$target
time=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}

mkdir -p "$folder"
work=$(mktemp -d "$folder/.partial.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name/docs" "$work/$name/completions"
cp "$binary" "$work/$name/vggkit"
cp "$root/README.md" "$root/CHANGELOG.md" "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$work/$name/"
cp "$root"/docs/*.md "$root"/docs/*.png "$work/$name/docs/"
"$generator" generate man "$work/$name/man" >/dev/null
"$generator" generate completions bash >"$work/$name/completions/vggkit.bash"
"$generator" generate completions zsh >"$work/$name/completions/_vggkit"
"$generator" generate completions fish >"$work/$name/completions/vggkit.fish"

# Permissions are not those of whoever's umask.
find "$work/$name" -type d -exec chmod 755 {} +
find "$work/$name" -type f -exec chmod 644 {} +
chmod 755 "$work/$name/vggkit"
$tar --create --directory "$work" --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner --format=ustar \
	--file "$work/$name.tar" "$name"
gzip -9 -n "$work/$name.tar"
mv "$work/$name.tar.gz" "$folder/$name.tar.gz"
echo "$folder/$name.tar.gz"
