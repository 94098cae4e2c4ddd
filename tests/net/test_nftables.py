"""A table deleted in a real kernel, in a network namespace of the test's own."""

import os
import subprocess
import sys

import pytest

from tests.live.pods import needs_namespaces

PROGRAM = """
import subprocess
from meshcar.net.nftables import delete_table

def tables():
    return [line for tool in ("iptables", "ip6tables")
            for line in subprocess.run([f"{tool}-nft-save"], capture_output=True, text=True).stdout.splitlines() if line[:1] == "*"]

for tool in ("iptables", "ip6tables"):
    for table in ("nat", "mangle"):
        subprocess.run([f"{tool}-nft", "-t", table, "-A", "OUTPUT", "-j", "ACCEPT"], check=True)
print(tables())
delete_table(4, "nat")
delete_table(6, "mangle")
delete_table(6, "mangle")
print(tables())
"""


@pytest.mark.live
@needs_namespaces
def test_delete() -> None:
    """Of one family, with all that is in it; once is enough."""
    words = ["unshare", "--net", sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.stdout.splitlines() == ["['*mangle', '*nat', '*mangle', '*nat']", "['*mangle', '*nat']"], done.stderr


@needs_namespaces
def test_refusal() -> None:
    """Without the capability: the kernel's word for it."""
    program = "from meshcar.net.nftables import delete_table\ntry: delete_table(4, 'nat')\nexcept PermissionError as e: print(e.errno)"
    words = ["unshare", "--net", "setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.stdout == "1\n", done.stderr
