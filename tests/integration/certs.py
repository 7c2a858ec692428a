"""Certificates for tests, made by openssl once per run."""
import hashlib
import os
import subprocess
import tempfile


def _openssl(*args, **kwargs):
    subprocess.run(["openssl", *args], check=True, capture_output=True, **kwargs)


class Authority:
    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.pem, self.key = self.path(name + ".pem"), self.path(name + ".key")
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", self.key, "-out", self.pem, "-days", "30", "-subj", f"/CN={name}")

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, subject, names, usage, days="30", rsa=False):
        """Returns (certificate, key) files. days -1: expired already."""
        cert, key, request = (self.path(f"{name}.{e}") for e in ("pem", "key", "csr"))
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        _openssl("req", "-newkey", *kind, "-nodes", "-keyout", key, "-out", request, "-subj",
                 subject, "-multivalue-rdn")
        extensions = f"extendedKeyUsage={usage}\n" + (f"subjectAltName={names}\n" if names else "")
        _openssl("x509", "-req", "-in", request, "-CA", self.pem, "-CAkey", self.key,
                 "-CAcreateserial", "-out", cert, "-days", days, "-extfile", "/dev/stdin",
                 input=extensions.encode())
        return cert, key


def pin(cert):
    """SHA-256 of the certificate's SubjectPublicKeyInfo, in hex."""
    public = subprocess.run(["openssl", "x509", "-in", cert, "-pubkey", "-noout"], check=True,
                            capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=public, check=True,
                         capture_output=True).stdout
    return hashlib.sha256(der).hexdigest()


class Certificates:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="trireme-certs-")
        self.ca = Authority(self.folder, "ca")
        self.other_ca = Authority(self.folder, "other-ca")
        server = "DNS:localhost,IP:127.0.0.1"
        self.server = self.ca.issue("server", "/CN=server", server, "serverAuth")
        self.server_rsa = self.ca.issue("server-rsa", "/CN=rsa", server, "serverAuth", rsa=True)
        self.alice = self.ca.issue("alice", "/DC=org/DC=example/O=T+OU=U/CN=alice",
                                   "email:alice@example.org,URI:spiffe://x/alice", "clientAuth")
        self.bob = self.ca.issue("bob", "/O=T/CN=bob", None, "clientAuth")
        self.late = self.ca.issue("late", "/CN=late", None, "clientAuth", days="-1")
        self.stranger = self.other_ca.issue("stranger", "/CN=alice", "email:alice@example.org",
                                            "clientAuth")
