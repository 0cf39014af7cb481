#!/bin/sh
# Builds what a release has: dist.sh [FOLDER [TARGET...]], by default target/dist and Linux on x86-64 and on 64-bit ARM.
#
# A target whose standard library or C compiler is missing is left out, with a word on what to install; the exit code is then 1
# if none was built. The program is Rust but for ring (C and assembly, for https), so another target needs a C compiler for it,
# which links too; NO_HTTPS=1 leaves ring out. Beside the archives lies SHA256SUMS: `sha256sum -c SHA256SUMS` checks them.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
folder=${1:-target/dist}
test $# = 0 || shift
test $# != 0 || set -- x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu
cargo=${CARGO:-cargo}
features=${NO_HTTPS:+--no-default-features}
host=$(rustc -vV | sed -n 's/^host: //p')
built_in=${CARGO_TARGET_DIR:-target}

# shellcheck disable=SC2086 # no feature is no word
$cargo build --release --locked $features
mkdir -p "$folder"
rm -f "$folder"/vggkit-*.tar.gz "$folder/SHA256SUMS"

left_out() { echo "not built for $1: $2" >&2; }

# The standard library of a target is there, or can be had.
has_library() {
	test -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" || rustup target add "$1" >/dev/null 2>&1
}

for target; do
	if test "$target" = "$host"; then
		packaging/archive.sh "$built_in/release/vggkit" "$built_in/release/vggkit" "$target" "$folder"
		continue
	fi
	if ! has_library "$target"; then
		left_out "$target" "its standard library is missing, and \`rustup target add $target\` cannot get it"
		continue
	fi
	# As Debian calls cross compilers: aarch64-linux-gnu-gcc of the package gcc-aarch64-linux-gnu.
	compiler=$(echo "$target" | sed 's/-unknown//')-gcc
	if ! command -v "$compiler" >/dev/null; then
		left_out "$target" "$compiler is missing (Debian, Ubuntu: apt-get install gcc-$(echo "${compiler%-gcc}" | tr _ -))"
		continue
	fi
	name=$(echo "$target" | tr - _)
	# shellcheck disable=SC2086
	env "CC_$name=$compiler" "CARGO_TARGET_$(echo "$name" | tr a-z A-Z)_LINKER=$compiler" \
		$cargo build --release --locked --target "$target" $features
	packaging/archive.sh "$built_in/$target/release/vggkit" "$built_in/release/vggkit" "$target" "$folder"
done

cd "$folder"
if ! ls vggkit-*.tar.gz >/dev/null 2>&1; then echo "nothing was built" >&2; exit 1; fi
sums=sha256sum
command -v $sums >/dev/null || sums="shasum -a 256"
$sums vggkit-*.tar.gz >SHA256SUMS
cat SHA256SUMS
