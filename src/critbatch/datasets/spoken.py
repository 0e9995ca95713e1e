"""Spoken digits as mel-frequency cepstral coefficients."""

import functools
import hashlib
import io
import lzma
import re
import tarfile
import wave
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from ..data import Examples
from ..randomness import generator
from .cache import cached
from .location import locate
from .mfcc import mfcc, slice_means
from .splits import Splits, standardise, stratified

COEFFICIENTS = 13
SLICES = 10
TEST_TAKES = 5
TRAIN = 2048
FEATURES_VERSION = 1  # raise it when the features change, so that cached ones are computed again
NAME = re.compile(r"(?:.*/)?(\d)_(\w+)_(\d+)\.wav")


def spoken_digits() -> Splits:
    """Return 3,000 recordings of the digits 0 to 9 by six speakers, as 130 standardised features each.

    Features are 13 mel-frequency cepstral coefficients, averaged in ten equal slices of time. The official split gives
    takes 0 to 4 of each speaker and digit to the test set (300). Of the other 2,700 a fixed stratified 2,048 are train
    (a power of 2) and 652 validation. Features are computed once and kept in the cache folder.

    Source: Jackson et al. (2018), Free Spoken Digit Dataset, CC BY-SA 4.0. Features: Davis and Mermelstein (1980).
    """
    return _load(locate("free-spoken-digits/recordings.tar.xz", "free-spoken-digit-dataset/recordings.tar.xz"))


def features(sound: Float[np.ndarray, " sample"], rate: int) -> Float[np.ndarray, " feature"]:
    """Return the 130 features of one recording: 13 coefficients in each of ten slices of time.

    Args:
        sound: Sound pressure, in [-1, 1].
        rate: Samples per second.
    """
    return slice_means(mfcc(sound, rate=rate, coefficients=COEFFICIENTS), SLICES)


def read_wave(content: bytes) -> tuple[Float[np.ndarray, " sample"], int]:
    """Return the samples in [-1, 1) of a WAV file, and its rate in samples per second.

    Raises:
        ValueError: If the file is not mono with 16 bits.
    """
    with wave.open(io.BytesIO(content)) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise ValueError(
                f"A recording has {file.getnchannels()} channels of {8 * file.getsampwidth()} bits. Give mono, 16 bits."
            )
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32768, file.getframerate()


@functools.lru_cache(maxsize=2)
def _load(path: Path) -> Splits:
    content = path.read_bytes()
    key = f"spoken-digits-v{FEATURES_VERSION}-{len(content)}-{hashlib.sha256(content).hexdigest()[:16]}"
    arrays = cached(key, lambda: _extract(content, path))
    values, labels, takes = (torch.from_numpy(arrays[name]) for name in ("features", "labels", "takes"))
    official = (takes >= TEST_TAKES).nonzero()[:, 0]
    chosen = stratified(labels[official], (TRAIN, len(official) - TRAIN), generator(0, "split"))
    parts = [official[part] for part in chosen] + [(takes < TEST_TAKES).nonzero()[:, 0]]
    values = standardise(values, values[parts[0]])
    return Splits(*(Examples(values[part], labels[part]) for part in parts))


def _extract(content: bytes, path: Path) -> dict[str, np.ndarray]:
    rows: list[tuple[int, str, int, np.ndarray]] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as archive:
            for member in archive:
                match = NAME.fullmatch(member.name)
                file = archive.extractfile(member) if match else None
                if match and file:
                    rows.append((int(match[1]), match[2], int(match[3]), features(*read_wave(file.read()))))
    except (tarfile.TarError, lzma.LZMAError, EOFError, wave.Error) as error:
        raise ValueError(f"{path} is not a whole tar.xz file of WAV recordings: {error}. Copy it again.") from error
    if len(rows) <= TRAIN:
        raise ValueError(f"{path} holds {len(rows)} recordings named digit_speaker_take.wav, 3000 are expected.")
    rows.sort(key=lambda row: row[:3])
    return {
        "features": np.stack([row[3] for row in rows]).astype(np.float32),
        "labels": np.array([row[0] for row in rows]),
        "takes": np.array([row[2] for row in rows]),
    }
