"""`make install`, `uninstall` and `purge` on a throw-away host: the machine's files below overlays.

What is written goes into a tmpfs that ends with the test's mount namespace. The libraries are those
of the tests' own environment (by a .pth file), so that nothing is fetched.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from docs.stage import ROOT
from world.environment import clean_environment

pytestmark = pytest.mark.root

INSTALL_S = 60.0
# Where the installer writes; each gets an overlay, so that what is written is seen nowhere else.
HOST = """
set -euo pipefail
mount --make-rprivate /
mount -t tmpfs none "$1"
for directory in /etc /opt /usr/local /var/lib; do
  mkdir -p "$1/upper$directory" "$1/work$directory"
  mount -t overlay none -o \
    "lowerdir=$directory,upperdir=$1/upper$directory,workdir=$1/work$directory" "$directory"
done
mount -t tmpfs none /run
rm -rf /opt/netmgr /etc/netmgr /etc/systemd/system/netmgr.service /usr/local/bin/netmgr
! getent group netmgr >/dev/null || groupdel netmgr
"$2" -m venv --without-pip /opt/netmgr/venv
echo "$3" >"$(echo /opt/netmgr/venv/lib/python3*/site-packages)/tests.pth"
"""
SCRIPT = """
packaging/install.sh install
echo 'dns_servers: [192.0.2.53]' >/etc/netmgr/netmgr.yaml
packaging/install.sh install
cat /etc/netmgr/netmgr.yaml
getent group netmgr | cut -d: -f1
cmp packaging/netmgr.service /etc/systemd/system/netmgr.service && echo unit
cmp packaging/netmgr-sandbox@.service /etc/systemd/system/netmgr-sandbox@.service && echo another
cd / && $(sed -n 's/^ExecStart=//p' /etc/systemd/system/netmgr.service) --help | head -1
netmgr --version
/opt/netmgr/venv/bin/python -I -c 'import netmgr_cli as n; print(n.__file__)'
ls /opt/netmgr/doc/docs/quickstart.md /opt/netmgr/doc/examples/policies/minimal.yaml
stat -c %a /opt/netmgr/doc/README.md /opt/netmgr/venv
cd "$OLDPWD"
packaging/install.sh uninstall
packaging/install.sh uninstall
ls -d /opt/netmgr /usr/local/bin/netmgr /etc/systemd/system/netmgr* 2>/dev/null || echo gone
ls /etc/netmgr
packaging/install.sh purge
packaging/install.sh purge
ls -d /etc/netmgr /var/lib/netmgr 2>/dev/null || echo purged
getent group netmgr || echo no group
"""
TOLD = """\
dns_servers: [192.0.2.53]
netmgr
unit
another
Usage: netmgr daemon [OPTIONS]
netmgr, version 0.1.0
/opt/netmgr/venv/lib/PYTHON/site-packages/netmgr_cli/__init__.py
/opt/netmgr/doc/docs/quickstart.md
/opt/netmgr/doc/examples/policies/minimal.yaml
644
755
gone
netmgr.yaml
purged
no group
""".replace("PYTHON", f"python{sys.version_info[0]}.{sys.version_info[1]}")


def test_install_and_uninstall_twice_are_once(tmp_path: Path) -> None:
    words = ["unshare", "--mount", "bash", "-c", HOST + SCRIPT, "-", str(tmp_path)]
    done = subprocess.run(
        [*words, sys.executable, sysconfig.get_path("purelib")],
        cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_S, check=False,
        # No network, and the build tools of the tests' environment.
        env=clean_environment(
            PYTHON=sys.executable, PIP_NO_INDEX="1", PIP_NO_BUILD_ISOLATION="0",
            PIP_ROOT_USER_ACTION="ignore",
        ),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == TOLD, done.stderr
