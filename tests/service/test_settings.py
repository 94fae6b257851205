"""Settings: where they come from, and which cannot be."""

from pathlib import Path

import pytest

from service.settings import ServiceSettings, SettingsError, load_settings

BASE = {"model": "m", "data": "d"}


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServiceSettings.model_fields:
        monkeypatch.delenv(f"MPANET_{name.upper()}", raising=False)


def test_the_defaults_listen_on_this_machine_only() -> None:
    settings = load_settings(BASE, {})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.redis_url is None
    assert settings.api_keys == ()


def test_what_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPANET_PORT", "9000")
    monkeypatch.setenv("MPANET_DATA", "elsewhere")
    monkeypatch.setenv("MPANET_REDIS_URL", "")
    settings = load_settings({"model": "m", "data": "d"}, {})
    assert (settings.port, settings.data, settings.redis_url) == (9000, Path("d"), None)


def test_a_variable_that_is_no_setting_is_an_error() -> None:
    with pytest.raises(SettingsError, match="MPANET_PROT is not a setting; did you mean MPANET_PO"):
        load_settings(BASE, {"MPANET_PROT": "1", "PATH": "x", "MPANET_URL": "http://x"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"port": "70000"}, "--port"),
        ({"port": "http"}, "MPANET_PORT"),
        ({"max_batch": "0"}, "--max-batch"),
        ({"redis_url": "http://redis"}, "redis://"),
        ({"max_queue": "3"}, "max_files"),
        ({"colour": "red"}, "colour"),
        ({"retention_days": "0"}, "--retention-days .*, came '0'"),
        ({"retention_days": "-3"}, "MPANET_RETENTION_DAYS"),
        ({"retention_days": "1.5"}, "--retention-days"),
        ({"retention_days": "a week"}, "--retention-days"),
        ({"recall_target": "0.5"}, "--recall-target .*, came '0.5'"),
        ({"recall_target": "1.01"}, "--recall-target"),
        ({"recall_target": "nan"}, "--recall-target"),
        ({"recall_target": "99%"}, "MPANET_RECALL_TARGET"),
        ({"qdrant_url": "qdrant:6333"}, "--qdrant-url .*http://"),
        ({"crop_store": "/crops"}, "--crop-store .*file:///crops"),
        (
            {"qdrant_url": "http://q:6333", "crop_store": "s3://b/c"},
            "expected redis_url .MPANET_REDIS_URL. with it, came none",
        ),
        (
            {"qdrant_url": "http://q:6333", "redis_url": "redis://r"},
            "expected crop_store .MPANET_CROP_STORE. with it, came none",
        ),
        (
            {"crop_store": "s3://b/c", "redis_url": "redis://r"},
            "expected qdrant_url .MPANET_QDRANT_URL. with it, came none",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings({**BASE, **given}, {})
    assert "\n" not in str(caught.value)


def test_retention_and_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(BASE, {})
    assert (settings.retention_days, settings.recall_target) == (None, 0.99)
    monkeypatch.setenv("MPANET_RETENTION_DAYS", "30")
    settings = load_settings({**BASE, "recall_target": "1"}, {})
    assert (settings.retention_days, settings.recall_target) == (30, 1.0)


def test_a_shared_gallery_has_vectors_records_and_crops_elsewhere() -> None:
    elsewhere = {
        "qdrant_url": "https://secret@q:6333",
        "redis_url": "redis://r",
        "crop_store": "s3://secret@bucket/crops",
    }
    settings = load_settings({**BASE, **elsewhere}, {})
    assert settings.qdrant_url is not None
    assert settings.qdrant_url.get_secret_value() == "https://secret@q:6333"
    assert settings.crop_store is not None
    assert settings.crop_store.get_secret_value() == "s3://secret@bucket/crops"
    assert "secret" not in repr(settings)
    for name in ("qdrant_url", "crop_store"):
        with pytest.raises(SettingsError) as caught:
            load_settings({**BASE, **elsewhere, name: "secret"}, {})
        assert "secret" not in str(caught.value)


def test_model_and_data_are_required() -> None:
    with pytest.raises(SettingsError, match=r"--model \(or MPANET_MODEL\) is required; --data"):
        load_settings({}, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example"])
def test_beyond_this_machine_takes_a_key_or_an_admission(host: str) -> None:
    with pytest.raises(SettingsError, match="--insecure"):
        load_settings({**BASE, "host": host}, {})
    assert load_settings({**BASE, "host": host, "insecure": True}, {}).host == host
    assert load_settings({**BASE, "host": host, "api_key": "k"}, {}).api_keys == ("k",)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_no_key(host: str) -> None:
    assert load_settings({**BASE, "host": host}, {}).host == host


def test_a_key_of_commas_is_none() -> None:
    with pytest.raises(SettingsError, match="at least one key"):
        load_settings({**BASE, "api_key": " , "}, {})


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPANET_API_KEY", "key-1,key-2")
    settings = load_settings({**BASE, "redis_url": "redis://:secret@host"}, {})
    assert settings.api_keys == ("key-1", "key-2")
    assert "key-1" not in repr(settings)
    assert "secret" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        load_settings({**BASE, "redis_url": "secret://x"}, {})
    assert "secret" not in str(caught.value)
