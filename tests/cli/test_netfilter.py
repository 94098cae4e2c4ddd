"""iptables' tools: which are used, and what they refuse, in one line. In a kernel: tests/live/test_capture_repeated.py."""

import os
from pathlib import Path

import pytest

from meshcar.cli.main import main
from meshcar.cli.netfilter import Backend, check_rights, choose, has_ipv6, run, saves
from meshcar.errors import SettingsError
from meshcar.manifests.iptables import IPV4, IPV6

EMPTY, USED = "*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", "*filter\n-A INPUT -j DROP\nCOMMIT\n"
LEGACY, NFT, PLAIN = (Backend(name, IPV4) for name in ("legacy", "nft", ""))


def test_choice() -> None:
    """The legacy back end where it has rules, else nft, else what there is; or the one that must be."""
    assert choose({LEGACY: EMPTY, NFT: USED}) == NFT
    assert choose({LEGACY: USED, NFT: USED}) == LEGACY
    assert choose({LEGACY: EMPTY}) == LEGACY
    assert choose({PLAIN: USED}) == PLAIN
    assert choose({LEGACY: USED, NFT: EMPTY}, "nft") == NFT


def test_names() -> None:
    """One name for each back end and family."""
    assert [one.tool for one in (LEGACY, PLAIN, Backend("nft", IPV6))] == ["iptables-legacy", "iptables", "ip6tables-nft"]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("meshcar.cli.netfilter._SYSTEM", "")
    return tmp_path


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_what_works(tools: Path) -> None:
    """A back end whose kernel part is missing is not used, unless it must be; iptables itself only where no back end has its own name."""
    tool(tools, "iptables-legacy-save", "echo no kernel for >&2; echo it >&2; exit 3")
    tool(tools, "iptables-nft-save", "echo nft")
    tool(tools, "iptables-save", "echo plain")
    assert saves(IPV4) == {NFT: "nft\n"}
    with pytest.raises(SettingsError, match=r"^iptables-legacy-save: no kernel for it$"):
        saves(IPV4, "legacy")
    (tools / "iptables-nft-save").unlink()
    assert saves(IPV4) == {PLAIN: "plain\n"}


def test_no_tools(tools: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit 1."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for words in ([], ["--clean"], ["--force-iptables-binary", "nft"]):
        assert main(["iptables", *words]) == 1
        name = "iptables-nft-save" if len(words) == 2 else "iptables-save"
        assert capsys.readouterr().err == f"meshcar iptables: {name}: No such file or directory (package iptables or iproute2)\n"


def test_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root without the capability is told before any tool is asked: some would say that there are no rules."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "self").mkdir()
    status = tmp_path / "self/status"
    status.write_text("Name:\tx\nCapEff:\t000001ffffffefff\n")
    with pytest.raises(SettingsError, match="needs the capability NET_ADMIN"):
        check_rights(tmp_path)
    status.write_text("Name:\tx\nCapEff:\t0000000000001000\n")
    check_rights(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SettingsError, match="needs root"):
        check_rights(tmp_path)


def test_refusals_without_noise(tools: Path) -> None:
    """What a tool advises, and what it warns of, is left out."""
    tool(tools, "loud", "printf '# Warning: x\\nloud v1: no\\n\\nError at line 1\\nTry loud -h\\n' >&2; exit 2")
    with pytest.raises(SettingsError, match=r"^loud: loud v1: no Error at line 1$"):
        run(["loud"])


def test_refusals_without_words(tools: Path) -> None:
    """A tool that says nothing: its exit status."""
    tool(tools, "mute", "exit 4")
    with pytest.raises(SettingsError, match=r"^mute -x: exit 4$"):
        run(["mute", "-x"])


def test_read_only_root(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /run cannot be written, legacy iptables is given another file to lock."""
    tool(tools, "lockfile", "echo $XTABLES_LOCKFILE")
    assert run(["lockfile"]) == ("\n" if os.access("/run", os.W_OK) else "/dev/null\n")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert run(["lockfile"]) == "/dev/null\n"


def test_ipv6_there_or_not(tmp_path: Path) -> None:
    """IPv6 is there unless the kernel lacks it or it is switched off."""
    assert not has_ipv6(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/if_inet6").touch()
    assert has_ipv6(tmp_path)
    switch = tmp_path / "sys/net/ipv6/conf/all/disable_ipv6"
    switch.parent.mkdir(parents=True)
    switch.write_text("1\n")
    assert not has_ipv6(tmp_path)
