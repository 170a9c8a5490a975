"""An engine whose library, certificates or scheduler cannot be used: what `config check` and `doctor` say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.config import ConfigError, load_config
from dreamcatcherd.config_tables import Config, EngineConfig
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.daemon.bootstrap import build_runtime
from dreamcatcherd.daemon.configured import load_complete
from dreamcatcherd.doctor.engine import check_engine_reach
from dreamcatcherd.engine import dask_pool, usable
from tests.e2e.dask_cluster import certificates

pytestmark = pytest.mark.xdist_group("engine")


def said_of(file: Path, keys: str) -> list[str]:
    """Each mistake of a configuration with these keys in its [engine], with its remedy."""
    file.write_text(f"[engine]\n{keys}\n")
    with pytest.raises(ConfigError) as found:
        load_complete(lambda: load_config(file), file)
    return [f"{one.where} {one.what}; {one.remedy}" for one in found.value.mistakes]


def test_an_engine_without_its_library_is_found_when_the_configuration_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`config check` and `run` refuse it, and no close is the first to find out."""
    monkeypatch.setattr(usable, "find_spec", lambda name: None if name == "distributed" else name)
    (said,) = said_of(tmp_path / "primary.toml", 'kind = "dask"')
    assert said == (
        "[engine]: the engine dask needs a library that is not installed: distributed; "
        "pip install 'dreamcatcherd[dask]'"
    )
    with pytest.raises(UsageError, match="needs a library that is not installed: distributed"):
        build_runtime(Config(engine=EngineConfig("dask")), str(tmp_path))


@pytest.mark.needs("openssl")
def test_certificates_are_loaded_when_the_configuration_is_read(tmp_path: Path) -> None:
    """Any text in place of one, and a key of another certificate, is a mistake that names the files."""
    mine, other = (certificates(tmp_path / name) for name in ("mine", "other"))
    text = tmp_path / "hostname"
    text.write_text("somewhere\n")

    def keys(**files: Path) -> str:
        given = {"ca_file": mine / "ca.pem", "tls_cert": mine / "cert.pem", "tls_key": mine / "key.pem", **files}
        lines = [f'{key} = "{file}"' for key, file in given.items()]
        return "\n".join(['kind = "dask"', 'scheduler = "tls://127.0.0.1:8786"', *lines])

    file = tmp_path / "primary.toml"
    file.write_text(f"[engine]\n{keys()}\n")
    assert load_complete(lambda: load_config(file), file).engine.kind == "dask"
    (said,) = said_of(file, keys(ca_file=text))
    assert f"{text} (ca_file) cannot be used: " in said
    assert said.endswith("; name a PEM file with the certificate of the authority in [engine] ca_file")
    for wrong in ({"tls_cert": text}, {"tls_key": text}, {"tls_key": other / "key.pem"}):
        (said,) = said_of(file, keys(**wrong))
        assert f"{next(iter(wrong.values()))} " in said
        assert "cannot be used: " in said
        assert said.endswith("; name a PEM certificate and its key without passphrase in [engine] tls_cert and tls_key")


def found_by_doctor(**keys: Any) -> list[tuple[bool, str, str | None]]:
    return [(one.ok, one.detail, one.remedy) for one in check_engine_reach(EngineConfig(**keys))]


def test_doctor_asks_a_scheduler(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it answers, and that its workers have this version; without a scheduler it says what will be started."""
    assert found_by_doctor() == []
    assert found_by_doctor(kind="processes", workers=2) == [
        (True, "processes with 2 workers on this machine, for frames of more than 50,000 deltas", None)
    ]
    answers = f"{scheduler} answers, its workers have this version and 2 threads together"
    assert found_by_doctor(kind="dask", scheduler=scheduler) == [(True, answers, None)]
    monkeypatch.setattr(dask_pool, "own_version", lambda: "9.9.9")
    ((ok, said, remedy),) = found_by_doctor(kind="dask", scheduler=scheduler)
    assert not ok
    assert "and this is 9.9.9" in said
    assert remedy == f"install dreamcatcherd 9.9.9 on every worker of {scheduler}"


def test_doctor_names_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a fault with its address and a remedy."""
    monkeypatch.setattr(dask_pool, "CONNECT_S", 0.5)
    ((ok, said, remedy),) = found_by_doctor(kind="dask", scheduler="tcp://127.0.0.1:1")
    assert not ok
    assert said.startswith("the scheduler tcp://127.0.0.1:1 is lost or cannot be reached: ")
    assert remedy is not None
    assert remedy.startswith("look whether it runs")
