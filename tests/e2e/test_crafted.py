"""Files that a stranger made, and what others on the machine may read and write."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.cli import files
from dreamcatcherd.core.errors import RefusedError
from tests.e2e.tools import DREAMCATCHERD, dc, environment, export_of, primary_toml

HOLE = 2**43


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A repository with one closed frame."""
    dc("init", str(tmp_path / "fleet.git"))
    dc("merge", "--repo", str(tmp_path / "fleet.git"))
    return tmp_path / "fleet.git"


def with_holes(name: str) -> bytes:
    """A tar of a few kilobytes with a file of eight terabytes, all of it a hole."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        member.pax_headers = {"GNU.sparse.map": f"{HOLE - 1},0", "GNU.sparse.size": str(HOLE)}
        tar.addfile(member)
    return out.getvalue()


@pytest.mark.parametrize("frame", [-1, 2**53, 2**70])
def test_a_snapshot_of_no_frame_is_not_imported(frame: int, fleet: Path, tmp_path: Path) -> None:
    """A frame below 0, or with none after it, is refused before anything is made."""
    crafted = export_of(fleet) | {"frame": frame}
    (tmp_path / "crafted.json").write_text(json.dumps(crafted))
    said = dc("import", str(tmp_path / "crafted.json"), "--repo", str(tmp_path / "new.git"), code=1)
    assert f"snapshot of frame {frame}, which is none" in said
    assert not (tmp_path / "new.git").exists()


def test_a_tar_with_holes_is_neither_imported_nor_verified(tmp_path: Path) -> None:
    """A few kilobytes that stand for terabytes are refused by name, and nothing of them reaches memory or disk."""
    (tmp_path / "a.tar").write_bytes(with_holes("snapshot.json"))
    assert "with holes in it" in dc("import", str(tmp_path / "a.tar"), "--repo", str(tmp_path / "new.git"), code=1)
    (tmp_path / "b.tar").write_bytes(with_holes("packed-refs"))
    assert "'packed-refs', which does not belong in one" in dc("verify", "--archive", str(tmp_path / "b.tar"), code=1)


def test_a_compressed_file_is_unpacked_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds more is refused with the way round it; what holds less comes through whole, over several frames."""
    raw = files.compressed(b"ab" * 2**20) + files.compressed(b"c")
    assert files.decompressed(raw) == b"ab" * 2**20 + b"c"
    monkeypatch.setattr(files, "UNPACKED_MOST", 2**20)
    with pytest.raises(RefusedError, match="holds more than 1 MiB; if that is right, unpack it with zstd -d"):
        files.decompressed(raw)


def forged(archive: bytes, name: str, text: bytes) -> bytes:
    """An archive with one of its files replaced and its checksums made to fit."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        found = {key: opened.read() for key, opened in members.items() if opened and key != "SHA256SUMS"}
    found[name] = text
    sums = "".join(f"{hashlib.sha256(raw).hexdigest()}  {key}\n" for key, raw in found.items())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for key, raw in {**found, "SHA256SUMS": sums.encode()}.items():
            member = tarfile.TarInfo(key)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HEAD", b"ref: ../../../etc/passwd\n"),
        ("HEAD", b"ref: ../no-such-file\n"),
        ("HEAD", b"ref: refs/heads/../../no-such-file\n"),
        ("packed-refs", b"\xff ../../x\n"),
        ("shallow", b"zzz\n"),
    ],
)
def test_an_archive_recommends_no_command_on_a_path_of_its_own(
    name: str, text: bytes, fleet: Path, tmp_path: Path
) -> None:
    """A forged archive is called incomplete, and the remedy is another copy: nothing to remove, mend or restore."""
    dc("archive", "-o", str(tmp_path / "good.tar"), "--repo", str(fleet))
    (tmp_path / "bad.tar").write_bytes(forged((tmp_path / "good.tar").read_bytes(), name, text))
    said = dc("verify", "--archive", str(tmp_path / "bad.tar"), code=1)
    assert "bad.tar is not a complete archive" in said
    assert "use another copy" in said
    assert "rm " not in said


def test_a_compressed_archive_is_refused(fleet: Path, tmp_path: Path) -> None:
    """Archives are written as they are; a compressed one could be of any size, and is to be unpacked by its owner."""
    dc("archive", "-o", str(tmp_path / "good.tar"), "--repo", str(fleet))
    subprocess.run(["gzip", str(tmp_path / "good.tar")], check=True)
    assert "is not a complete archive" in dc("verify", "--archive", str(tmp_path / "good.tar.gz"), code=1)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can look into, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="dreamcatcherd-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(("table", "name"), [("repository", "token_file"), ("http", "token_file")])
def test_a_secret_that_everybody_can_read_is_found(table: str, name: str, public: Path, fleet: Path) -> None:
    """Its check names the file and the command that shuts it; shut, or below a shut folder, there is nothing to say."""
    secret = public / "token"
    secret.write_text("a token\n")
    secret.chmod(0o644)
    lines = {"repository": f'[repository]\nurl = "{fleet}"\n', "http": ""}
    lines["http"] = f'{lines["repository"]}[http]\nlisten = "127.0.0.1:0"\n'
    config = public / "primary.toml"
    config.write_text(f'{lines[table]}{name} = "{secret}"\n')
    said = dc("doctor", "--config", str(config), code=1)
    assert f"FIX  [{table}] {name}: {secret} can be read by everybody" in said
    public.chmod(0o700)
    dc("doctor", "--config", str(config))
    public.chmod(0o755)
    remedy = next(line for line in said.splitlines() if "chmod o= " in line)
    subprocess.run(remedy.partition(",")[0].strip(), shell=True, check=True)
    dc("doctor", "--config", str(config))


def test_nothing_is_made_that_everybody_can_write(tmp_path: Path) -> None:
    """Under umask 000 a repository, its hook and what a close writes are closed to other users' writing."""
    config = primary_toml(tmp_path)
    for words in (["init", "fleet.git"], ["merge", "--repo", "fleet.git", "--config", str(config)]):
        command = ["sh", "-c", 'umask 000; exec "$@"', "sh", *DREAMCATCHERD, *words]
        subprocess.run(command, cwd=tmp_path, env=environment(), check=True, capture_output=True)
    made = [path for path in (tmp_path / "fleet.git").rglob("*") if not path.is_symlink()]
    assert len(made) > 10
    assert [path for path in made if path.stat().st_mode & stat.S_IWOTH] == []
