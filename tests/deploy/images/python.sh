#!/usr/bin/env bash
# python.sh IMAGE PYTHON_PREFIX: a stand-in for the official slim Python image where no registry can be reached.
# Debian bookworm by debootstrap, CPython copied from a prefix built on this machine. Needs root and podman.
set -euo pipefail
image=$1 prefix=$2
libraries=ca-certificates,libssl3,libffi8,libsqlite3-0,zlib1g,libbz2-1.0,liblzma5,libreadline8,libncursesw6,libexpat1,tzdata

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
version=$("$prefix/bin/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

debootstrap --variant=minbase --include="$libraries" bookworm "$root" >"$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }
rm -f "$root.log"
cp "$prefix/bin/python$version" "$root/usr/local/bin/"
tar -C "$prefix" --exclude=site-packages --exclude=test --exclude=__pycache__ --exclude='*.a' -c lib | tar -C "$root/usr/local" -x
mkdir -p "$root/usr/local/lib/python$version/site-packages"
chroot "$root" ldconfig
chroot "$root" "/usr/local/bin/python$version" -m ensurepip >/dev/null 2>&1
for name in python python3; do ln -sf "python$version" "$root/usr/local/bin/$name"; done
ln -sf "pip$version" "$root/usr/local/bin/pip"
# Builds on top of it trust what the system trusts, like those on the official image with its newer pip.
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$root/etc/pip.conf"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*

tar -C "$root" -c . | podman import --quiet \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' --change 'CMD ["python3"]' - "$image"
