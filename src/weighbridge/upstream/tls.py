"""TLS contexts from files, for both directions. Every problem of a file is a `ValueError` that names it."""

import ssl

import msgspec


class TlsFiles(msgspec.Struct, frozen=True):
    """What an endpoint's connections are secured with. `None`: the system's authorities, no certificate of ours."""

    ca_file: str | None = None
    """PEM file of the authorities to trust, instead of the system's."""
    client_cert: str | None = None
    """PEM file of our certificate, with its chain."""
    client_key: str | None = None
    """Its private key; `None` where it stands in `client_cert`."""
    digest: str = ""
    """Of the files' content: other content is another value, so connections are made anew after a reload."""


SYSTEM = TlsFiles()


def towards_provider(files: TlsFiles) -> ssl.SSLContext:
    """Verifies the server's name and certificate; never less."""
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ValueError(f"ca_file {files.ca_file!r} cannot be used: {_why(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if files.client_cert is not None:
        _load_own(context, "client_cert", files.client_cert, files.client_key)
    return context


def towards_clients(certificate: str, key: str | None, client_ca: str | None) -> ssl.SSLContext:
    """For a server. With `client_ca` every client must show a certificate that one of its authorities has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_own(context, "tls_cert", certificate, key)
    if client_ca is not None:
        try:
            context.load_verify_locations(cafile=client_ca)
        except (OSError, ValueError) as error:
            raise ValueError(f"tls_client_ca {client_ca!r} cannot be used: {_why(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_own(context: ssl.SSLContext, name: str, certificate: str, key: str | None) -> None:
    def no_password() -> str:
        raise ValueError("its private key is encrypted; a server that starts by itself needs one that is not")

    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except (OSError, ValueError) as error:
        both = repr(certificate) if key is None else f"{certificate!r} with key {key!r}"
        raise ValueError(f"{name} {both} cannot be used: {_why(error)}") from None


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not PEM"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
