from pathlib import Path

import pytest
import torch

from pipeline.storage import Storage
from pipeline.training.run_state import RunStateError, load_state, read_metrics, save_state


def state(value: float) -> dict:
    return {"fingerprint": "f", "learned": {"w": torch.full((2,), value)}}


def rows(first: int, last: int) -> list[dict]:
    return [{"step": step, "loss": float(step)} for step in range(first, last)]


def test_the_last_state_is_loaded_with_its_tensors(tmp_path):
    storage = Storage(str(tmp_path))
    assert load_state(storage, "f") is None
    for step in (2, 4, 6):
        save_state(storage, step, state(step), rows(step - 2, step))
    loaded = load_state(storage, "f")
    assert loaded is not None
    assert loaded["learned"]["w"].tolist() == [6.0, 6.0]
    # Older ones go, but for one.
    assert sorted(path.name for path in (tmp_path / "state").glob("*.pt")) == ["0000004.pt", "0000006.pt"]
    assert [row["step"] for row in read_metrics(storage)] == list(range(6))


def test_a_run_killed_before_the_pointer_goes_on_from_the_state_before(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path))
    save_state(storage, 2, state(2), rows(0, 2))
    write = Storage.write

    def killed(self: Storage, name: str, contents: bytes) -> None:
        if name.endswith("latest.json"):
            raise KeyboardInterrupt
        write(self, name, contents)

    monkeypatch.setattr(Storage, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        save_state(storage, 4, state(4), rows(2, 4))
    monkeypatch.undo()
    loaded = load_state(storage, "f")
    assert loaded is not None
    assert loaded["learned"]["w"].tolist() == [2.0, 2.0]
    # Its metrics are not taken for real, and not twice when the steps are done again.
    assert [row["step"] for row in read_metrics(storage)] == [0, 1]
    save_state(storage, 5, state(5), rows(2, 5))
    assert [row["step"] for row in read_metrics(storage)] == [0, 1, 2, 3, 4]


def test_another_recipe_is_refused(tmp_path):
    storage = Storage(str(tmp_path))
    save_state(storage, 2, state(2), [])
    with pytest.raises(RunStateError, match="holds a run with other settings"):
        load_state(storage, "g")


def test_a_state_is_read_without_running_code(tmp_path):
    storage = Storage(str(tmp_path))
    save_state(storage, 2, {"fingerprint": "f", "bad": print}, [])
    with pytest.raises(RunStateError, match="cannot be read"):
        load_state(storage, "f")


def test_a_state_that_is_gone_is_named(tmp_path):
    storage = Storage(str(tmp_path))
    save_state(storage, 2, state(2), [])
    (tmp_path / "state" / "0000002.pt").unlink()
    with pytest.raises(RunStateError, match=r"0000002.pt: is gone"):
        load_state(storage, "f")


def file_under(tensor: torch.Tensor) -> str:
    """The file that a tensor's memory is mapped from, or nothing."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, *_, path = line.ljust(200).split(" ", maxsplit=5)
        first, last = (int(end, 16) for end in place.split("-"))
        if first <= tensor.data_ptr() < last:
            return path.strip()
    return ""


@pytest.mark.parametrize("remote", [False, True])
def test_a_state_is_in_its_file_until_it_is_used(tmp_path, remote):
    storage = Storage("memory://states" if remote else str(tmp_path))
    save_state(storage, 2, state(2), [])
    loaded = load_state(storage, "f")
    assert loaded is not None
    assert ".pt" in file_under(loaded["learned"]["w"])
    # Also when the file is gone.
    storage.remove("state/0000002.pt")
    assert loaded["learned"]["w"].tolist() == [2.0, 2.0]


def test_a_state_of_another_recipe_is_not_even_read(tmp_path):
    storage = Storage(str(tmp_path))
    save_state(storage, 2, state(2), [])
    (tmp_path / "state" / "0000002.pt").write_bytes(b"gigabytes")
    with pytest.raises(RunStateError, match="holds a run with other settings"):
        load_state(storage, "g")
    # Earlier versions wrote no fingerprint there.
    save_state(storage, 2, state(2), [])
    (tmp_path / "state" / "latest.json").write_text('{"step": 2}')
    assert load_state(storage, "f") is not None
    with pytest.raises(RunStateError, match="holds a run with other settings"):
        load_state(storage, "g")


def test_what_is_saved_stays_whatever_kills_have_left(tmp_path):
    storage = Storage(str(tmp_path))
    save_state(storage, 200, state(200), [])
    for step in (350, 400):
        (tmp_path / "state" / f"{step:07}.pt").write_bytes(b"before the pointer was written")
    save_state(storage, 250, state(250), [])
    assert sorted(path.name for path in (tmp_path / "state").glob("*.pt")) == ["0000200.pt", "0000250.pt"]
    assert load_state(storage, "f") is not None


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path, caplog):
    storage = Storage(str(tmp_path))
    for step in (2, 4):
        save_state(storage, step, state(step), [])
    newest, older = tmp_path / "state" / "0000004.pt", tmp_path / "state" / "0000002.pt"
    newest.write_bytes(newest.read_bytes()[:100])
    loaded = load_state(storage, "f")
    assert loaded is not None
    assert loaded["learned"]["w"].tolist() == [2.0, 2.0]
    assert "going on from state/0000002.pt" in caplog.text
    older.write_bytes(b"")
    with pytest.raises(RunStateError, match=r"0000002.pt: cannot be read .*; remove .*state to begin anew"):
        load_state(storage, "f")


@pytest.mark.parametrize("contents", ['{"step": 6, "fi', "[]", '{"step": "6"}'])
def test_a_pointer_that_does_not_point_is_named(tmp_path, contents):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "latest.json").write_text(contents)
    with pytest.raises(RunStateError, match=r"latest.json: does not say which state is the last"):
        load_state(Storage(str(tmp_path)), "f")
