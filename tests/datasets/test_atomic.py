import os
import signal
import subprocess
import sys

import pytest

from dppo_rllib.datasets.atomic import new_directory


def test_directory_appears_at_the_end(tmp_path):
    target = tmp_path / "deep" / "target"
    with new_directory(target) as scratch:
        (scratch / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert os.listdir(target.parent) == ["target"]


def test_exception_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), new_directory(tmp_path / "target") as scratch:
        (scratch / "file").write_text("content")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_exception_keeps_what_was_to_be_overwritten(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").touch()
    with pytest.raises(KeyError), new_directory(tmp_path / "target", overwrite=True):
        raise KeyError
    assert os.listdir(tmp_path / "target") == ["old"]
    assert os.listdir(tmp_path) == ["target"]


def test_overwrite_replaces_everything(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").touch()
    with new_directory(tmp_path / "target", overwrite=True) as scratch:
        (scratch / "new").touch()
    assert os.listdir(tmp_path / "target") == ["new"]
    assert os.listdir(tmp_path) == ["target"]


def test_existing_target_is_refused(tmp_path):
    with (
        pytest.raises(FileExistsError, match=f"{tmp_path} exists already"),
        new_directory(tmp_path),
    ):
        pass


def test_who_comes_second_does_not_win(tmp_path):
    target = tmp_path / "target"
    with pytest.raises(OSError), new_directory(target) as scratch:  # noqa: PT011
        (scratch / "second").touch()
        with new_directory(target) as other:
            (other / "first").touch()
    assert os.listdir(target) == ["first"]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_killed_writer_leaves_no_target(tmp_path):
    script = (
        "import os, pathlib, signal, sys\n"
        "from dppo_rllib.datasets.atomic import new_directory\n"
        "with new_directory(pathlib.Path(sys.argv[1])) as scratch:\n"
        "    (scratch / 'file').touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "target"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "target").exists()
