import base64
import re
import subprocess

from pathlib import Path

import pytest

from cryptography.hazmat.primitives.serialization import load_der_private_key

from tests.support import tls


ROOT = Path(__file__).parents[2]
_PEM_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----\s+(?:[\w-]+: .*\s+)*[A-Za-z0-9+/=]{16}"
)
# Base64 of "-----BEGIN": PEM inside of a Secret's data.
_ENCODED_PEM = re.compile(rb"LS0tLS1CRUdJT[A-Za-z0-9+/\s]{40,}")
_KEY_STORES = {".p12", ".pfx", ".jks", ".keystore"}


def holds_key(path: Path) -> bool:
    content = path.read_bytes()
    if path.suffix in _KEY_STORES or _PEM_KEY.search(content):
        return True
    for run in _ENCODED_PEM.findall(content):
        text = b"".join(run.split())
        if b"PRIVATE KEY-----" in base64.b64decode(text[: len(text) // 4 * 4]):
            return True
    try:
        load_der_private_key(content, None)
    except TypeError:
        return True  # Encrypted.
    except ValueError:
        return False
    return True


def files_of(root: Path) -> list[Path]:
    """
    Return what git holds or would add; without git, whatever is there.
    """
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=False,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        paths = [root / name for name in listed.stdout.split("\0") if name]
    else:
        hidden = {".venv", "build", "dist"}
        paths = [
            path for path in root.rglob("*") if not hidden & set(path.relative_to(root).parts)
        ]
    return [path for path in paths if path.is_file()]


def test_tree_holds_no_private_key():
    """
    No private key, in whatever form, is in the repository.
    """
    files = files_of(ROOT)

    assert len(files) > 50
    assert [] == [str(path) for path in files if holds_key(path)]


@pytest.mark.parametrize("form", ["pem", "secret", "der"])
def test_a_key_would_be_found(tmp_path, form):
    """
    The check above sees a key as PEM, inside of a Secret, and as DER.
    """
    pair = tls.pair_of(tls.authority())
    forms = {
        "pem": b"# mine\n" + pair.certificate_pem + pair.key_pem,
        "secret": b"data:\n  tls.key: " + base64.b64encode(pair.key_pem) + b"\n",
        "der": base64.b64decode(b"".join(pair.key_pem.split(b"\n")[1:-2])),
    }
    (tmp_path / "file").write_bytes(forms[form])
    (tmp_path / "certificate").write_bytes(pair.certificate_pem)

    assert [tmp_path / "file"] == [path for path in files_of(tmp_path) if holds_key(path)]
