#!/usr/bin/env bash
# Builds the machine that netmgr's VM tests run in, from the distribution's own packages.
#
#   vagrant/build-box.sh DIR [SUITE]     root, Debian or Ubuntu; SUITE: bookworm (default), trixie,
#                                        or bookworm-backports for bookworm with the newer kernel
#
# Leaves DIR/netmgr-SUITE.box and DIR/netmgr-SUITE.json, a catalogue for Vagrant whose version is a
# hash of all that decides the box: a box that is there already is not built again. Prints the
# version. Packages come from the mirror that this host's apt uses, Python's from this host's index;
# neither is written into the box. No loop device, no mount and no boot loader of the host is touched.
set -euo pipefail
out=$(realpath -m "${1:?where to}")
readonly out
cd "$(dirname "$0")/.."

readonly suite=${2:-bookworm}
readonly release=${suite%-backports}
readonly name=netmgr-$suite
readonly disk_mib=4096
readonly first_mib=1 # where the partition begins; the boot loader's core lies before it

say() { printf 'build-box: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

# -- what is in it --------------------------------------------------------------------------

# A minimal system with ssh; what `packaging/setup.sh packages` wants; what the tests look at.
readonly packages=systemd-sysv,udev,dbus,openssh-server,sudo,kmod,rsync,procps,initramfs-tools,\
ca-certificates,curl,iproute2,iptables,ipset,make,gcc,libc6-dev,python3,python3-dev,python3-venv,\
python3-pip,nftables,conntrack,ufw,tcpdump,busybox-static,podman,crun,netavark,aardvark-dns,\
docker.io,apparmor,firewalld

version() {
  {
    echo "$suite"
    cat vagrant/build-box.sh
    requirements <pyproject.toml
    previous_requirements
  } | sha256sum | cut -c1-7 | { read -r hash; echo "0.0.$((16#$hash))"; }
}

# Distributions that the guest needs, one per line: of the pyproject.toml on standard input, of its
# build, of the tests.
requirements() {
  "$(packaging/setup.sh python)" -c '
import sys, tomllib

project = tomllib.load(sys.stdin.buffer)
print(*project["build-system"]["requires"], *project["project"]["dependencies"], sep="\n")
print("pytest", "pytest-timeout", "pip", "setuptools", "wheel", sep="\n")'
}

# Of the version that the tests upgrade from; nothing where this clone has no such history.
previous_requirements() {
  local tree
  tree=$(vagrant/previous.sh) || return 0
  git show "$tree:pyproject.toml" | requirements
}

# -- root file system -----------------------------------------------------------------------

# The mirror that this host's apt uses for a kind of archive: `debian` or `debian-security`.
mirror() {
  local uri
  uri=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | sort -u |
    grep -E "/$1/?\$" | head -n 1 || true)
  [ -n "$uri" ] || fail "this host's apt has no source of the archive $1"
  echo "$uri"
}

make_root() {
  local root=$1 main kernel=linux-image-cloud-amd64 more=()
  main=$(mirror debian)
  more+=("deb $main $release main" "deb $(mirror debian-security) $release-security main")
  if [ "$suite" != "$release" ]; then
    more+=("deb $main $suite main")
    kernel=$kernel/$suite
  fi
  mmdebstrap -q --mode=root --variant=minbase --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --include="$packages,$kernel" "$release" "$root" "${more[@]}" >&2
}

# The wheels are made by the guest's own interpreter, so that they fit it, with this host's index.
add_wheels() {
  local root=$1 list authorities=/run/build/ca-certificates.crt
  mkdir -p "$root/opt/wheels" "$root/run/build"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root$authorities"
  requirements <pyproject.toml >"$root/run/build/requirements.txt"
  previous_requirements >"$root/run/build/previous.txt"
  cp -L --remove-destination /etc/resolv.conf /etc/hosts "$root/etc/" # until `customise`
  for list in requirements previous; do # one after the other: they may want different versions
    env -i PATH="$PATH" HOME=/root ${PIP_INDEX_URL:+"PIP_INDEX_URL=$PIP_INDEX_URL"} \
      PIP_CERT=$authorities REQUESTS_CA_BUNDLE=$authorities SSL_CERT_FILE=$authorities \
      chroot "$root" python3 -m pip wheel -q --no-cache-dir --disable-pip-version-check \
      --wheel-dir /opt/wheels --find-links /opt/wheels -r "/run/build/$list.txt" >&2
  done
  chroot "$root" python3 -m venv --without-pip /opt/venv
  env -i PATH="$PATH" HOME=/root chroot "$root" python3 -m pip -q --python /opt/venv/bin/python \
    install --no-index --find-links /opt/wheels pytest pytest-timeout dnslib >&2
  rm -rf "$root/run/build"
}

customise() {
  local root=$1 gem
  gem=$(vagrant_key)
  chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 vagrant
  echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
  chmod 0440 "$root/etc/sudoers.d/vagrant"
  install -d -m 0700 -o 1000 -g 1000 "$root/home/vagrant/.ssh"
  install -m 0600 -o 1000 -g 1000 "$gem" "$root/home/vagrant/.ssh/authorized_keys"
  echo 'LABEL=root / ext4 defaults,noatime 0 1' >"$root/etc/fstab"
  echo netmgr-vm >"$root/etc/hostname"
  printf '127.0.0.1 localhost\n127.0.1.1 netmgr-vm\n' >"$root/etc/hosts"
  echo 'nameserver 192.168.121.1' >"$root/etc/resolv.conf"
  # Only the first link: further ones belong to the tests.
  printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n' >"$root/etc/systemd/network/80-dhcp.network"
  echo 'UseDNS no' >"$root/etc/ssh/sshd_config.d/netmgr.conf"
  # The pip of the guest finds everything in /opt/wheels: it has no network.
  printf '[global]\nno-index = true\nfind-links = /opt/wheels\n' >"$root/etc/pip.conf"
  : >"$root/etc/machine-id"
  chroot "$root" systemctl -q enable systemd-networkd ssh
  # The tests start these when they want them.
  chroot "$root" systemctl -q disable ufw nftables firewalld docker.service docker.socket containerd
  chroot "$root" systemctl -q mask systemd-networkd-wait-online.service apt-daily.timer \
    apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service podman.service \
    podman.socket podman-auto-update.timer podman-restart.service
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
}

# Vagrant's well-known key: the network of the machine is private.
vagrant_key() {
  local found
  for found in /usr/share/rubygems-integration/all/gems/vagrant-*/keys/vagrant.pub \
    /opt/vagrant/embedded/gems/gems/vagrant-*/keys/vagrant.pub; do
    [ ! -e "$found" ] || { echo "$found"; return; }
  done
  fail "Vagrant's public key is not on this host: install the package vagrant"
}

# -- disk and box ---------------------------------------------------------------------------

make_disk() {
  local root=$1 work=$2
  mkdir -p "$root/boot/grub"
  cat >"$root/boot/grub/grub.cfg" <<'TEXT'
set timeout=0
linux /vmlinuz root=LABEL=root ro console=ttyS0 net.ifnames=0 mitigations=off random.trust_cpu=on quiet
initrd /initrd.img
boot
TEXT
  cat >"$work/early.cfg" <<'TEXT'
search --no-floppy --label root --set=root
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
TEXT
  mke2fs -q -t ext4 -L root -m 0 -d "$root" "$work/part.img" "$((disk_mib - first_mib))M"
  truncate -s "${disk_mib}M" "$work/disk.raw"
  echo "start=$((first_mib * 2048)), type=83, bootable" | sfdisk -q "$work/disk.raw"
  grub-mkimage -O i386-pc -p /boot/grub -c "$work/early.cfg" -o "$work/core.img" \
    biosdisk part_msdos ext2 search search_label linux normal configfile boot
  dd if=/usr/lib/grub/i386-pc/boot.img of="$work/disk.raw" bs=440 count=1 conv=notrunc status=none
  dd if="$work/core.img" of="$work/disk.raw" bs=512 seek=1 conv=notrunc status=none
  dd if="$work/part.img" of="$work/disk.raw" bs=1M seek=$first_mib conv=notrunc,sparse status=none
  rm "$work/part.img"
  qemu-img convert -c -o compression_type=zstd -O qcow2 "$work/disk.raw" "$work/box.img"
  rm "$work/disk.raw"
}

make_box() {
  local work=$1 version=$2
  printf '{"provider": "libvirt", "format": "qcow2", "virtual_size": %d}\n' \
    $((disk_mib / 1024)) >"$work/metadata.json"
  echo 'Vagrant.configure("2") { |config| config.vm.guest = :debian }' >"$work/Vagrantfile"
  tar -C "$work" -cf "$out/$name.box.new" metadata.json Vagrantfile box.img
  mv "$out/$name.box.new" "$out/$name.box"
  catalogue "$version"
}

# What tells Vagrant where the box is: by a whole path, so it is written anew where a cache was moved.
catalogue() {
  local version=$1 sum
  sum=$(sha256sum "$out/$name.box" | cut -d' ' -f1)
  cat >"$out/$name.json" <<TEXT
{"name": "$name", "versions": [{"version": "$version", "providers": [{"name": "libvirt",
 "url": "file://$out/$name.box", "checksum_type": "sha256", "checksum": "$sum"}]}]}
TEXT
}

build() {
  local work version=$1
  rm -rf --one-file-system "$out"/.build.* # of a build that was killed
  work=$(mktemp -d "$out/.build.XXXXXX")
  # shellcheck disable=SC2064 # now, while the name is known
  trap "rm -rf '$work'" EXIT
  say "building $name $version (about two minutes)"
  make_root "$work/root"
  add_wheels "$work/root"
  customise "$work/root"
  make_disk "$work/root" "$work"
  make_box "$work" "$version"
}

[ "$(id -u)" = 0 ] || fail "needs root, for the guest's file owners"
if [ "${NETMGR_BOX_BUILD:-}" != inside ]; then
  # What mmdebstrap mounts and starts ends with this script, SIGKILL included.
  export NETMGR_BOX_BUILD=inside
  exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
    vagrant/build-box.sh "$out" "$suite"
fi
mkdir -p "$out"
exec 9>"$out/.lock" # two at once would take away each other's half
flock 9
version=$(version)
if [ -e "$out/$name.box" ] && grep -q "\"$version\"" "$out/$name.json" 2>/dev/null; then
  grep -qF "\"file://$out/$name.box\"" "$out/$name.json" || catalogue "$version"
  say "$name $version is there"
else
  build "$version"
fi
echo "$version"
