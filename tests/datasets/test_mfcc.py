"""Mel-frequency cepstral coefficients against the formulas, summed one by one."""

import cmath
import math

import numpy as np
import pytest

from critbatch.datasets.mfcc import frequency_to_mel, mel_filters, mel_to_frequency, mfcc, slice_means

RATE = 8000
FRAME, HOP, LENGTH, FILTERS = 200, 80, 256, 26


def naive_coefficients(signal: list[float], count: int) -> list[list[float]]:
    """Return the coefficients frame by frame, from the definitions and without numpy."""
    emphasised = [signal[0]] + [signal[t] - 0.97 * signal[t - 1] for t in range(1, len(signal))]
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    edges = [700 * (10 ** (top * index / (FILTERS + 1) / 2595) - 1) for index in range(FILTERS + 2)]
    rows = []
    for start in range(0, len(signal) - FRAME + 1, HOP):
        window = [0.54 - 0.46 * math.cos(2 * math.pi * t / (FRAME - 1)) for t in range(FRAME)]
        frame = [emphasised[start + t] * window[t] for t in range(FRAME)]
        power = []
        for k in range(LENGTH // 2 + 1):
            total = sum(frame[t] * cmath.exp(-2j * math.pi * k * t / LENGTH) for t in range(FRAME))
            power.append(abs(total) ** 2 / LENGTH)
        logs = []
        for m in range(1, FILTERS + 1):
            energy = 0.0
            for k, value in enumerate(power):
                frequency = k * RATE / LENGTH
                if edges[m - 1] < frequency <= edges[m]:
                    energy += value * (frequency - edges[m - 1]) / (edges[m] - edges[m - 1])
                elif edges[m] < frequency < edges[m + 1]:
                    energy += value * (edges[m + 1] - frequency) / (edges[m + 1] - edges[m])
            logs.append(math.log(max(energy, 1e-10)))
        row = []
        for n in range(count):
            total = sum(logs[m] * math.cos(math.pi * n * (2 * m + 1) / (2 * FILTERS)) for m in range(FILTERS))
            row.append(total * math.sqrt((1 if n == 0 else 2) / FILTERS))
        rows.append(row)
    return rows


def chirp(samples: int) -> np.ndarray:
    time = np.arange(samples) / RATE
    return 0.5 * np.sin(2 * np.pi * (300 + 4000 * time) * time) + 0.1 * np.sin(2 * np.pi * 1900 * time)


def test_the_coefficients_are_those_of_the_definition():
    signal = chirp(500)
    found = mfcc(signal, rate=RATE, coefficients=13)
    assert found.shape == (4, 13)
    np.testing.assert_allclose(found, naive_coefficients(signal.tolist(), 13), rtol=1e-9, atol=1e-9)


def test_silence_and_short_signals_have_finite_coefficients():
    assert np.isfinite(mfcc(np.zeros(400), rate=RATE, coefficients=13)).all()
    assert mfcc(chirp(50), rate=RATE, coefficients=13).shape == (1, 13)


def test_a_tone_is_loudest_in_the_filter_at_its_pitch():
    centres = mel_to_frequency(np.linspace(0, 2146.0645, FILTERS + 2))[1:-1]  # mel of 4,000 Hz
    weights = mel_filters(RATE, LENGTH)
    assert weights.shape == (FILTERS, LENGTH // 2 + 1)
    assert weights.min() == 0
    assert weights.max() <= 1
    nearest = round(float(centres[20]) * LENGTH / RATE)
    assert weights[:, nearest].argmax() == 20


def test_mel_and_frequency_are_inverse():
    frequencies = np.linspace(0, 4000, 50)
    np.testing.assert_allclose(mel_to_frequency(frequency_to_mel(frequencies)), frequencies, atol=1e-9)
    assert frequency_to_mel(np.array([1000.0])).tolist() == pytest.approx([1000], abs=0.1)


@pytest.mark.parametrize("frames", [1, 3, 10, 11, 97])
def test_slices_are_equal_stretches_of_time(frames):
    rows = np.arange(frames, dtype=float)[:, None] * [1.0, 2.0]
    made = slice_means(rows, 10).reshape(10, 2)
    assert np.array_equal(made[:, 1], 2 * made[:, 0])
    assert (np.diff(made[:, 0]) >= 0).all()
    if frames % 10 == 0:
        assert np.array_equal(made, rows.reshape(10, -1, 2).mean(1))
