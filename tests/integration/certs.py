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
                 "-keyout", self.key, "-out", self.pem, "-days", "30", "-subj", f"/CN={name}",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, subject, names, usage, rsa=False, expired=False):
        """Returns (certificate, key) files. `expired`: long ago."""
        cert, key, request = (self.path(f"{name}.{e}") for e in ("pem", "key", "csr"))
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        _openssl("req", "-newkey", *kind, "-nodes", "-keyout", key, "-out", request, "-subj",
                 subject, "-multivalue-rdn")
        extensions = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        extensions += f"extendedKeyUsage={usage}\n" + (f"subjectAltName={names}\n" if names else "")
        if expired:  # "x509 -days" takes no past any more, "ca" always did
            self._issue_expired(request, cert, extensions)
            return cert, key
        _openssl("x509", "-req", "-in", request, "-CA", self.pem, "-CAkey", self.key,
                 "-CAcreateserial", "-out", cert, "-days", "30", "-extfile", "/dev/stdin",
                 input=extensions.encode())
        return cert, key

    def change(self, cert, before, after):
        """Replaces bytes in a certificate, by as many others, and signs it anew: for names that openssl does not write."""
        der = subprocess.run(["openssl", "x509", "-in", cert, "-outform", "der"], check=True, capture_output=True).stdout
        begin, _ = _value(der, 0)
        _, end = _value(der, begin)
        assert len(before) == len(after) and before in der[begin:end]
        body = der[begin:end].replace(before, after)
        _, algorithm_end = _value(der, end)
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], check=True, capture_output=True,
                                   input=body).stdout
        der = _element(0x30, body + der[end:algorithm_end] + _element(3, b"\0" + signature))
        _openssl("x509", "-inform", "der", "-out", cert, input=der)

    def _issue_expired(self, request, cert, extensions):
        config = self.path("ca.conf")
        open(self.path("index"), "w").close()
        with open(config, "w") as f:
            f.write(f"[ca]\ndefault_ca = c\n[c]\ndatabase = {self.path('index')}\nnew_certs_dir = {self.folder}\n"
                    "rand_serial = yes\ndefault_md = sha256\npolicy = p\n[p]\ncommonName = supplied\n"
                    f"[e]\n{extensions}")
        _openssl("ca", "-batch", "-config", config, "-in", request, "-out", cert, "-cert", self.pem, "-keyfile", self.key,
                 "-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-extensions", "e", "-notext")


def _value(der, at):
    """Where the content of the element at `at` begins and ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7f
        length = int.from_bytes(der[at + 2:start], "big")
    return start, start + length


def _element(tag, content):
    n = len(content)
    length = bytes([n]) if n < 128 else bytes([0x82]) + n.to_bytes(2, "big")
    return bytes([tag]) + length + content


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
        self.nul_san = self.ca.issue("nul-san", "/O=T/CN=x", "email:admin@.evil,DNS:admin-.evil", "clientAuth")
        self.ca.change(self.nul_san[0], b"admin@.evil", b"admin\0.evil")
        self.ca.change(self.nul_san[0], b"admin-.evil", b"admin\0.evil")
        self.nul_cn = self.ca.issue("nul-cn", "/CN=admin@.evil", None, "clientAuth")
        self.ca.change(self.nul_cn[0], b"admin@.evil", b"admin\0.evil")
        self.late = self.ca.issue("late", "/CN=late", None, "clientAuth", expired=True)
        self.stranger = self.other_ca.issue("stranger", "/CN=alice", "email:alice@example.org",
                                            "clientAuth")
