"""Debian's libreswan, installed nowhere: another implementation of IPsec, as a peer not managed by Salt."""

from __future__ import annotations

from pathlib import Path

from strongswan import tree, without_lib

PACKAGES = (
    *("libreswan", "libnss3", "libnss3-tools", "libnspr4", "libcap-ng0", "libcurl3-nss", "libldap-2.5-0"),
    *("libldns3", "libunbound8", "libevent-core-2.1-7", "libevent-pthreads-2.1-7", "libevent-2.1-7"),
    *("libnghttp2-14", "libpsl5", "librtmp1", "libssh2-1", "libsasl2-2", "libaudit1", "dns-root-data"),
)


def unpacked() -> Path:
    """Return the tree with it."""
    return tree("libreswan", PACKAGES, without_lib)
