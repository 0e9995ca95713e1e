"""Mel-frequency cepstral coefficients: the short-time spectrum of speech as a few numbers."""

import numpy as np
from jaxtyping import Float
from scipy.fft import dct

PRE_EMPHASIS = 0.97
FRAME_SECONDS = 0.025
HOP_SECONDS = 0.010
FILTERS = 26
FLOOR = 1e-10  # energy below which the logarithm is cut off: digital silence has energy 0


def frequency_to_mel(frequency: Float[np.ndarray, " frequency"]) -> Float[np.ndarray, " frequency"]:
    """Return the pitch in mel of a frequency in hertz: 2595 log10(1 + f / 700)."""
    return 2595 * np.log10(1 + frequency / 700)


def mel_to_frequency(mel: Float[np.ndarray, " mel"]) -> Float[np.ndarray, " mel"]:
    """Return the frequency in hertz of a pitch in mel: the inverse of `frequency_to_mel`."""
    return 700 * (10 ** (mel / 2595) - 1)


def mel_filters(rate: int, length: int) -> Float[np.ndarray, "filter bin"]:
    """Return triangles of height 1, centred at equal distances in mel between 0 and half the sampling rate.

    Args:
        rate: Samples per second.
        length: Samples that the discrete Fourier transform takes.

    Returns:
        The weight of each frequency bin in each of the 26 filters.
    """
    lowest, highest = frequency_to_mel(np.array([0, rate / 2]))
    edges = mel_to_frequency(np.linspace(lowest, highest, FILTERS + 2))
    bins = np.arange(length // 2 + 1) * rate / length
    left, centre, right = (edges[start : start + FILTERS, None] for start in range(3))
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling))


def mfcc(
    signal: Float[np.ndarray, " sample"], *, rate: int, coefficients: int
) -> Float[np.ndarray, "frame coefficient"]:
    """Return the mel-frequency cepstral coefficients of each frame of a signal.

    Pre-emphasis s[t] - 0.97 s[t-1]; frames of 25 ms every 10 ms (a signal shorter than one is filled up with zeros);
    Hamming window; power spectrum; 26 mel filters; natural logarithm; orthonormal discrete cosine transform (type II),
    of which the first `coefficients` are kept, the 0th (loudness) among them.

    Source: Davis and Mermelstein (1980), IEEE Transactions on Acoustics, Speech, and Signal Processing 28(4), which has
    20 filters; the other constants are common choices.

    Args:
        signal: Sound pressure, in [-1, 1].
        rate: Samples per second.
        coefficients: How many to keep, up to 26.

    Returns:
        One row for each frame, in orthonormal log-energy units.
    """
    frame, hop = round(FRAME_SECONDS * rate), round(HOP_SECONDS * rate)
    emphasised = np.append(signal[:1], signal[1:] - PRE_EMPHASIS * signal[:-1])
    emphasised = np.pad(emphasised, (0, max(0, frame - len(emphasised))))
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, frame)[::hop] * np.hamming(frame)
    length = 1 << (frame - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, length)) ** 2 / length
    energies = np.maximum(power @ mel_filters(rate, length).T, FLOOR)
    return dct(np.log(energies), type=2, norm="ortho", axis=1)[:, :coefficients]


def slice_means(frames: Float[np.ndarray, "frame coefficient"], slices: int) -> Float[np.ndarray, " feature"]:
    """Return the mean of each coefficient in each of `slices` equal stretches of time, stretch by stretch.

    A recording of any length becomes the same number of features. Stretches share a frame where there are fewer frames
    than stretches.
    """
    edges = np.linspace(0, len(frames), slices + 1)
    starts = np.minimum(np.floor(edges[:-1]).astype(int), len(frames) - 1)
    ends = np.maximum(np.floor(edges[1:]).astype(int), starts + 1)
    return np.concatenate([frames[start:end].mean(0) for start, end in zip(starts, ends, strict=True)])
