import os
import pickle

import pytest

from pipeline import retries
from pipeline.storage import Storage, StorageError


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path):
    return Storage(str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}/out")


def test_files_are_written_read_and_removed(storage, tmp_path):
    (tmp_path / "local").write_bytes(b"video")
    storage.write("records/a.json", b"{}")
    storage.put(tmp_path / "local", "videos/a.mp4")
    assert storage.read("records/a.json") == b"{}"
    assert storage.size("videos/a.mp4") == 5
    assert storage.exists("videos/a.mp4")
    storage.get("videos/a.mp4", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"video"
    storage.remove("videos/a.mp4")
    storage.remove("videos/a.mp4")
    assert not storage.exists("videos/a.mp4")
    assert storage.size("videos/a.mp4") is None
    assert storage.read("videos/a.mp4") is None


def test_it_can_be_sent_to_another_process(storage):
    storage.write("a", b"1")
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"1"


def test_a_store_that_answers_with_an_error_is_asked_again(monkeypatch):
    monkeypatch.setattr(retries.time, "sleep", lambda seconds: None)
    storage = Storage("memory://patience")
    storage.write("a", b"contents")
    for name, ask, answer in (
        ("cat_file", lambda: storage.read("a"), b"contents"),
        ("info", lambda: storage.size("a"), 8),
        ("info", lambda: storage.exists("a"), True),
        ("rm_file", lambda: storage.remove("a"), None),
        ("rm", lambda: storage.remove_folder("b"), None),
    ):
        answers = getattr(storage._filesystem, name)
        refusals = [OSError("503: slow down"), OSError("503: slow down")]

        def busy(path: str, answers=answers, refusals=refusals, **options):
            if refusals:
                raise refusals.pop()
            return answers(path, **options)

        monkeypatch.setattr(storage._filesystem, name, busy)
        assert ask() == answer
        assert not refusals
        monkeypatch.setattr(storage._filesystem, name, answers)
    assert storage.read("a") is None


@pytest.mark.parametrize("name", ["write", "put", "move", "read", "size", "sizes"])
def test_what_a_store_refuses_in_its_own_words_is_a_storage_error_that_names_the_file(name, tmp_path, monkeypatch):
    class NoCredentials(Exception):
        pass

    def refuse(*args, **options):
        raise NoCredentials("unable to locate credentials")

    monkeypatch.setattr(retries.time, "sleep", lambda seconds: None)
    storage = Storage("memory://refusing/out")
    for method in ("pipe_file", "put_file", "cp_file", "cat_file", "info", "find"):
        monkeypatch.setattr(storage._filesystem, method, refuse)
    (tmp_path / "local").write_bytes(b"video")
    asked, done = {
        "write": (lambda: storage.write("a", b"1"), "written"),
        "put": (lambda: storage.put(tmp_path / "local", "a"), "written"),
        "move": (lambda: storage.move("b", "a"), "written"),
        "read": (lambda: storage.read("a"), "read"),
        "size": (lambda: storage.size("a"), "read"),
        "sizes": (lambda: storage.sizes("a"), "listed"),
    }[name]
    with pytest.raises(StorageError, match=rf"refusing/out/a cannot be {done} \(NoCredentials: unable to locate"):
        asked()


def test_a_disk_that_does_not_take_a_file_is_named_with_it(tmp_path):
    storage = Storage(str(tmp_path / "out"))
    storage.write("a/b", b"1")
    (tmp_path / "local").write_bytes(b"video")
    for write in (lambda: storage.write("a", b"1"), lambda: storage.put(tmp_path / "local", "a")):
        with pytest.raises(StorageError, match=r"out/a cannot be written \(IsADirectoryError"):
            write()


def test_whether_a_folder_can_be_written_is_known_beforehand_and_leaves_no_file(storage, monkeypatch, tmp_path):
    storage.write("a", b"1")
    storage.check_writable()
    assert storage.sizes("") == {"a": 1}
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Storage(str(tmp_path / "file" / "out")).check_writable()


def test_a_relative_folder_is_the_same_one_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(Storage("out"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pickle.loads(sent).write("a", b"1")
    assert (tmp_path / "out" / "a").read_bytes() == b"1"


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path))
    storage.write("a", b"old")
    seen = []

    def replace(source, target, real=os.replace):
        seen.append((tmp_path / "a").read_bytes())
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    storage.write("a", b"new")
    assert seen == [b"old"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path):
    (tmp_path / ".incoming").mkdir()
    (tmp_path / ".incoming" / "half").write_bytes(b"half")
    with Storage(str(tmp_path)).claimed():
        assert not (tmp_path / ".incoming" / "half").exists()


def test_a_claim_is_refused_while_it_is_held_and_free_afterwards(tmp_path):
    first, second = Storage(str(tmp_path)), Storage(str(tmp_path))
    with first.claimed(), pytest.raises(StorageError, match=f"in use by process {os.getpid()}"), second.claimed():
        pass
    with second.claimed():
        pass


def test_an_output_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"), Storage(str(tmp_path / "file" / "out")).claimed():
        pass
