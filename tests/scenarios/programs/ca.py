"""Asks the controller's CA for a certificate over gRPC and prints the status, then the detail.

ca.py HOST:PORT ROOT IDENTITY TOKEN     (token "-": none)
"""

import subprocess
import sys
import tempfile

import grpc


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, data):
    """A length-delimited field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def request(csr, identity):
    value = field(3, identity.encode())
    entry = field(1, b"ImpersonatedIdentity") + field(2, value)
    return field(1, csr) + varint(3 << 3) + varint(3600) + field(4, field(1, entry))


def make_csr(identity):
    with tempfile.NamedTemporaryFile() as key:
        return subprocess.run(
            ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
            + ["-subj", "/", "-addext", f"subjectAltName=URI:{identity}", "-keyout", key.name],
            check=True,
            capture_output=True,
        ).stdout


def main(target, root, identity, token):
    with open(root, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    metadata = [("clusterid", "Kubernetes")]
    if token != "-":
        metadata.append(("authorization", f"Bearer {token}"))
    with grpc.secure_channel(target, credentials) as channel:
        create = channel.unary_unary("/istio.v1.auth.IstioCertificateService/CreateCertificate")
        try:
            answer = create(request(make_csr(identity), identity), metadata=metadata, timeout=10)
            print("OK", answer.count(b"BEGIN CERTIFICATE"), "certificates")
        except grpc.RpcError as error:
            print(error.code().name, error.details())


if __name__ == "__main__":
    main(*sys.argv[1:])
