"""The certificate that the server shows, looked at before anything else is done.

Granian reads the files itself, in every worker, and a bad one ends the process without a sentence.
"""

from pathlib import Path

from api.settings import Settings

_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE_ENDS = "-----END CERTIFICATE-----"
_KEY = "PRIVATE KEY-----"
_ENCRYPTED = ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED")
"""How keys with a password begin. Granian 2.8 takes a password but cannot read what OpenSSL
encrypts with it."""

_ELLIPTIC = bytes.fromhex("06072a8648ce3d0201")
"""In a certificate: the key is of an elliptic curve, whose name follows."""
_CURVES = (bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06052b81040022"))
"""The names of P-256 and P-384; granian knows no other."""


class BadCertificate(Exception):
    """The server cannot speak TLS with these files; the message is a sentence for the operator."""


def check(settings: Settings) -> None:
    """Make sure that certificate and key can be used, if there are any. Raises BadCertificate."""
    certificate, key = settings.api_ssl_certfile, settings.api_ssl_keyfile
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        missing = "--ssl-certfile" if certificate is None else "--ssl-keyfile"
        raise BadCertificate(f"A certificate and its key belong together; {missing} is missing.")
    chain = _text(certificate, "certificate")
    if _CERTIFICATE not in chain:
        raise BadCertificate(f"The certificate {certificate} is not a PEM file.")
    text = _text(key, "key")
    if _KEY not in text:
        raise BadCertificate(f"The key {key} is not a private key in PEM.")
    if any(mark in text for mark in _ENCRYPTED):
        raise BadCertificate(
            f"The key {key} is encrypted, which cannot be read; "
            f"`openssl pkey -in {key} -out plain.pem` writes one without a password."
        )
    _load(certificate, key)
    _, elliptic, named = _first(chain).partition(_ELLIPTIC)
    if elliptic and not named.startswith(_CURVES):
        raise BadCertificate(
            f"The key {key} is of an elliptic curve that cannot be used; P-256 and P-384 can."
        )


def _first(chain: str) -> bytes:
    """The server's own certificate; those that vouch for it come after it."""
    import ssl  # lazily: most servers speak plain http

    begin = chain.index(_CERTIFICATE)
    end = chain.index(_CERTIFICATE_ENDS, begin) + len(_CERTIFICATE_ENDS)
    return ssl.PEM_cert_to_DER_cert(chain[begin:end])


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise BadCertificate(f"The {what} {path} cannot be read: {error.strerror}.") from None


def _load(certificate: Path, key: Path) -> None:
    import ssl  # lazily: most servers speak plain http

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadCertificate(
                f"The key {key} is not the one of the certificate {certificate}."
            ) from None
        why = error.reason or str(error)
        raise BadCertificate(
            f"The certificate {certificate} and the key {key} cannot be used: {why}."
        ) from None
