"""Spoken digits: the official split, and features that are kept."""

import io
import tarfile
import wave

import numpy as np
import pytest
import torch

from critbatch.datasets import spoken

from ..requirements import require_data


def recording(samples: np.ndarray, channels: int = 1) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def test_a_recording_is_read_as_numbers_below_one():
    sound, rate = spoken.read_wave(recording(np.array([0, 16384, -32768])))
    assert sound.tolist() == [0, 0.5, -1]
    assert rate == 8000


def test_stereo_is_refused():
    with pytest.raises(ValueError, match=r"has 2 channels of 16 bits\. Give mono"):
        spoken.read_wave(recording(np.zeros(8), channels=2))


def packed(folder, content: bytes) -> None:
    (folder / "free-spoken-digits").mkdir()
    (folder / "free-spoken-digits" / "recordings.tar.xz").write_bytes(content)


def archive(recordings: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as file:
        for name, content in recordings.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "is not a whole tar.xz file"),
        (archive({"recordings/3_ann_0.wav": b"no wave"}), "is not a whole tar.xz file of WAV recordings"),
        (archive({"recordings/3_ann_0.wav": recording(np.zeros(900))}), "holds 1 recordings .* 3000 are expected"),
        (archive({"readme": b""}), "holds 0 recordings"),
    ],
    ids=["no archive", "no wave", "too few", "none"],
)
def test_a_damaged_archive_is_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packed(tmp_path, content)
    with pytest.raises(ValueError, match=message):
        spoken.spoken_digits()


def test_the_published_recordings_split_as_their_authors_say():
    require_data()
    data = spoken.spoken_digits()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2048, 652, 300]
    assert data.train.inputs.shape[1] == 130
    assert torch.bincount(data.test.targets).tolist() == [30] * 10
    assert data.train.inputs.mean(0).abs().max() < 1e-4
    assert (data.train.inputs.std(0, correction=0) - 1).abs().max() < 1e-3
    everything = torch.cat([part.inputs for part in (data.train, data.validation, data.test)])
    assert everything.isfinite().all()
    assert len(everything.unique(dim=0)) > 2990  # hardly a recording is there twice
