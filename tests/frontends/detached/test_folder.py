"""Where engines are found: a folder of ours alone, names that nobody guesses, nothing left of what has ended."""

import os
import socket

import pytest

from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.frontends.detached import folder


@pytest.fixture(autouse=True)
def engines(monkeypatch, tmp_path_factory):
    path = tmp_path_factory.mktemp("e") / "engines"
    monkeypatch.setenv(folder.FOLDER_VARIABLE, str(path))
    return path


def test_only_its_owner_enters_the_folder_and_uses_the_socket(engines):
    listening, path = folder.listen(folder.new_id())
    with listening:
        assert engines.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600
        assert [each.name for each in engines.iterdir()] == [path.name]


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_a_folder_that_others_can_enter_is_refused(engines, mode):
    engines.mkdir()
    engines.chmod(mode)
    with pytest.raises(LlmdbgError, match="not a folder that only you can enter"):
        folder.engines_folder()


def test_a_link_in_its_place_is_refused(engines, tmp_path):
    engines.symlink_to(tmp_path)
    with pytest.raises(LlmdbgError, match="not a folder that only you can enter"):
        folder.engines_folder()


def test_another_users_folder_is_refused(engines, monkeypatch):
    folder.engines_folder()
    monkeypatch.setattr(os, "getuid", lambda: engines.stat().st_uid + 1)
    with pytest.raises(LlmdbgError, match="not a folder that only you can enter"):
        folder.engines_folder()


def test_ids_are_not_guessed():
    ids = {folder.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {16}


def test_the_socket_of_an_engine_that_has_ended_is_removed():
    id = folder.new_id()
    listening, path = folder.listen(id)
    listening.close()
    assert folder.known_ids() == [id]
    assert folder.connect(id) is None
    assert not path.exists()
    assert folder.connect(id) is None


def test_the_other_end_is_the_same_user(monkeypatch):
    id = folder.new_id()
    listening, _ = folder.listen(id)
    with listening:
        connected = folder.connect(id)
        assert connected is not None
        assert folder.peer_user(connected) == os.getuid()
        connected.close()
        monkeypatch.setattr(folder, "peer_user", lambda _: os.getuid() + 1)
        with pytest.raises(LlmdbgError, match="another user's"):
            folder.connect(id)


def test_a_name_too_long_for_a_socket_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv(folder.FOLDER_VARIABLE, str(tmp_path / ("x" * 120)))
    with pytest.raises(LlmdbgError, match="too long a name for a socket"):
        folder.listen(folder.new_id())


def test_the_beginning_of_an_id_is_enough():
    ids = ["aa00", "ab00"]
    assert folder.id_that_begins("AB", ids) == "ab00"
    with pytest.raises(UsageError, match="2 engines begin"):
        folder.id_that_begins("a", ids)
    for beginning in ("c", ""):
        with pytest.raises(UsageError, match="there is no engine"):
            folder.id_that_begins(beginning, ids)


def test_who_is_at_the_other_end_is_asked_of_the_system():
    here, there = socket.socketpair()
    with here, there:
        assert folder.peer_user(here) == os.getuid()
