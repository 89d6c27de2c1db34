"""Put the renderer of diagrams into the site: ``python -m website.mermaid``.

Pages would load it from elsewhere otherwise. It comes from npm, in a version of which the digest is
known.
"""

import base64
import hashlib
import tarfile
import tempfile
from pathlib import Path

from tests.servers._node import npm

VERSION = "11.17.2"
SHA512 = "V6K3C8EBdEsPFZXSKMJe6ppQOENxuHARr9GvHX4hh47lAbhMRD9qf4oEK7LoaRQxULMa80/qt5gHO73aCleBBg=="
TARGET = Path(__file__).parent.parent / "site" / "javascripts"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        done = npm(["pack", f"mermaid@{VERSION}"], cwd=Path(directory))
        if done.returncode != 0:
            raise SystemExit(done.stdout)
        (archive,) = Path(directory).glob("*.tgz")
        digest = hashlib.sha512(archive.read_bytes()).digest()
        if base64.b64encode(digest).decode() != SHA512:
            raise SystemExit(f"mermaid {VERSION} is not the file whose digest is known")
        with tarfile.open(archive) as package:
            script = package.extractfile("package/dist/mermaid.min.js")
            assert script is not None
            (TARGET / "mermaid.min.js").write_bytes(script.read())


if __name__ == "__main__":
    main()
