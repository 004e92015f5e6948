"""Certificates for tests, made by the `openssl` of this machine."""

import subprocess
from pathlib import Path

from msgspec import Struct


class Files(Struct, frozen=True):
    """A certificate made out to this machine, which vouches for itself, and its key."""

    certificate: Path
    key: Path


def openssl(*arguments: str) -> None:
    """Run it; it must succeed."""
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def self_signed(folder: Path, name: str, kind: str = "ec:prime256v1") -> Files:
    """A new certificate; `kind` is the algorithm of its key and a curve or a number of bits."""
    algorithm, _, size = kind.partition(":")
    option = "ec_paramgen_curve" if algorithm == "ec" else "rsa_keygen_bits"
    files = Files(folder / f"{name}.crt", folder / f"{name}.key")
    openssl(
        *("req", "-x509", "-newkey", algorithm, "-pkeyopt", f"{option}:{size}", "-nodes"),
        *("-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(files.key), "-out", str(files.certificate)),
    )
    return files
