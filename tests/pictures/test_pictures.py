"""Charts hold what they are given, and files what their ending says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import critbatch as cb
from critbatch.measurements.information_plane import InformationPlane
from critbatch.minima.density import Density
from critbatch.minima.lines import FlatWidth, Line
from critbatch.mutual_information.binning import Fixed
from critbatch.pictures import (
    draw_autocorrelation,
    draw_density,
    draw_eigenvalues,
    draw_information,
    draw_line,
    draw_plane,
    draw_planes,
    information_along,
    save,
)
from critbatch.trajectories.circulation import area_rates, principal_coordinates
from critbatch.trajectories.increments import increment_autocorrelation, white_band

FIRST_BYTES = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<svg", ".pdf": b"%PDF-"}
POSITIONS = np.linspace(-1, 2, 7)


def tables(part: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield the inline tables of a chart's specification, in the order of its layers."""
    if isinstance(part, dict):
        if isinstance(part.get("values"), list) and part["values"] and isinstance(part["values"][0], dict):
            yield part["values"]
        for one in part.values():
            yield from tables(one)
    elif isinstance(part, list):
        for one in part:
            yield from tables(one)


def rows(chart: Any, *names: str) -> list[dict[str, Any]]:
    """Return the first table of a chart that has these columns, with Altair's schema checked on the way."""
    return next(table for table in tables(chart.to_dict()) if set(names) <= set(table[0]))


def column(table: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in table]


def along(loss: np.ndarray | None = None, **metrics: np.ndarray) -> Line:
    return Line(POSITIONS, (POSITIONS - 0.5) ** 2 + 0.1 if loss is None else loss, metrics, 3.0)


def turning(count: int = 400) -> np.ndarray:
    """Return a noisy trajectory that goes round in its first plane."""
    generator, state, found = np.random.default_rng(0), np.zeros(4), []
    spin = np.array([[0.8, -0.4, 0, 0], [0.4, 0.8, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 0.3]])
    for _ in range(count):
        state = spin @ state + generator.standard_normal(4) * [2, 2, 1, 0.5]
        found.append(state)
    return np.array(found)


def every_chart() -> dict[str, Any]:
    grid, one = np.linspace(-1, 1, 9), np.ones((3, 2))
    return {
        "eigenvalues": draw_eigenvalues(np.array([3.0, -1.0, 0.5]), null=np.array([1.0, 0.9])),
        "density": draw_density(Density(grid, np.exp(-(grid**2)), 0 * grid + 0.1, 0.1)),
        "line": draw_line(along(accuracy=POSITIONS), widths={"first": FlatWidth(-0.2, 0.3, False)}),
        "plane": draw_plane(np.add.outer(grid**2, grid**2) + 0.1, grid.tolist(), grid.tolist()),
        "information": draw_information(one, one, steps=[0, 1, 10], ceiling=(10.0, 3.3)),
        "planes": draw_planes(turning()),
        "autocorrelation": draw_autocorrelation(turning(), most_lag=5),
    }


@pytest.fixture(scope="module")
def charts() -> dict[str, Any]:
    return every_chart()


@pytest.mark.parametrize("name", list(every_chart()))
def test_a_chart_keeps_the_schema_and_becomes_an_svg(charts: dict[str, Any], name: str, tmp_path: Path) -> None:
    charts[name].to_dict()
    written = save(charts[name], tmp_path / "picture.svg").read_bytes()
    assert written.startswith(FIRST_BYTES[".svg"])
    assert len(written) > 2000
    assert b"NaN" not in written


@pytest.mark.parametrize("ending", [".png", ".PNG", ".svg", ".pdf"])
def test_the_ending_chooses_the_format(charts: dict[str, Any], ending: str, tmp_path: Path) -> None:
    path = save(charts["line"], tmp_path / f"line{ending}", scale=1)
    assert path == tmp_path / f"line{ending}"
    assert path.read_bytes().startswith(FIRST_BYTES[ending.lower()])
    assert path.stat().st_size > 2000


def test_the_scale_is_that_of_the_pixels(charts: dict[str, Any], tmp_path: Path) -> None:
    sizes = []
    for scale in (1.0, 2.0):
        header = save(charts["line"], tmp_path / "line.png", scale=scale).read_bytes()[16:24]
        sizes.append((int.from_bytes(header[:4]), int.from_bytes(header[4:])))
    assert sizes[1] == pytest.approx(tuple(2 * size for size in sizes[0]), abs=2)


@pytest.mark.parametrize("name", ["picture.gif", "picture", "picture.png.txt"])
def test_other_endings_are_refused_and_nothing_is_written(charts: dict[str, Any], name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of \.png, \.svg, \.pdf"):
        save(charts["line"], tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_that_are_none_are_refused(charts: dict[str, Any], scale: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scale"):
        save(charts["line"], tmp_path / "line.png", scale=scale)


def test_eigenvalues_are_ranked_by_size_on_either_side_of_0() -> None:
    table = rows(draw_eigenvalues(np.array([0.5, -1.0, 3.0, 0.0, 1e-14]), null=np.array([2.0, 1.0])), "rank", "size")
    assert [(row["series"], row["rank"], row["size"]) for row in table] == [
        ("this matrix, above 0", 1, 3.0), ("this matrix, above 0", 2, 0.5), ("this matrix, below 0 (size)", 1, 1.0),
        ("null", 1, 2.0), ("null", 2, 1.0),
    ]  # fmt: skip


def test_a_density_is_drawn_with_two_errors_on_both_sides() -> None:
    grid = np.array([0.0, 1.0, 2.0])
    density = Density(grid, np.array([1.0, 0.5, 0.0]), np.array([0.1, 0.1, 0.0]), 0.2)
    table = rows(draw_density(density, null=Density(grid + 1, grid + 1, 0 * grid, 0.2)), "at", "density")
    own = [row for row in table if row["series"] == "this matrix"]
    assert (column(own, "at"), column(own, "density")) == ([0.0, 1.0, 2.0], [1.0, 0.5, 0.0])
    assert column(own, "low") == pytest.approx([0.8, 0.3, 1e-6])
    assert column(own, "high") == pytest.approx([1.2, 0.7, 1e-6])
    assert column(table[3:], "at") == [1.0, 2.0, 3.0]


def test_a_line_holds_losses_metrics_and_widths() -> None:
    accuracy, widths = (
        np.linspace(0, 1, 7),
        {"small": FlatWidth(-0.25, 0.5, False), "large": FlatWidth(0.75, 2.0, True)},
    )
    loss = (POSITIONS - 0.5) ** 2 + 0.1
    chart = draw_line(along(accuracy=accuracy), widths=widths)
    found = [table for table in tables(chart.to_dict()) if set(table[0]) == {"position", "value"}]
    assert column(found[0], "position") == POSITIONS.tolist()
    assert column(found[0], "value") == loss.tolist()
    assert any(column(table, "value") == accuracy.tolist() for table in found)
    bars = [table[0] for table in tables(chart.to_dict()) if "to" in table[0]]
    assert {(bar["position"], bar["to"]) for bar in bars} == {(-0.25, 0.5), (0.75, 2.0)}
    assert {bar["width"] for bar in bars} == {"small: 0.75", "large: at least 1.25"}


def test_infinite_losses_are_gaps_and_losses_below_0_have_a_linear_axis() -> None:
    table = rows(draw_line(along(np.array([np.inf, 2.0, 1.0, 0.5, 1.0, np.nan, 3.0]))), "position", "value")
    assert column(table, "value") == [None, 2.0, 1.0, 0.5, 1.0, None, 3.0]
    assert '"log"' not in draw_line(along(POSITIONS)).to_json()
    assert '"log"' in draw_line(along(POSITIONS + 2)).to_json()


def test_contours_lie_where_the_loss_has_their_level() -> None:
    grid = np.linspace(-1, 1, 41)
    losses = np.add.outer(grid**2, 4 * grid**2) + 1e-3
    chart = draw_plane(losses, grid.tolist(), grid.tolist(), levels=[0.25])
    tiles = rows(chart, "x", "loss")
    assert {(row["at"], row["up"]): row["loss"] for row in tiles} == {
        (x, y): losses[i, j] for i, x in enumerate(grid.tolist()) for j, y in enumerate(grid.tolist())
    }
    pieces = rows(chart, "x2", "level")
    ends = np.array([[row["x"], row["y"]] for row in pieces] + [[row["x2"], row["y2"]] for row in pieces])
    assert ends[:, 0] ** 2 + 4 * ends[:, 1] ** 2 == pytest.approx(0.249, abs=3e-3)
    corners = [tuple(np.round(one, 9)) for one in ends]
    assert all(corners.count(one) == 2 for one in corners), "the contour is not closed"
    length = sum(np.hypot(row["x"] - row["x2"], row["y"] - row["y2"]) for row in pieces)
    assert length == pytest.approx(4.844 * 0.5, rel=0.01)  # an ellipse with axes 1 and 1/2, times 1/2


def test_places_that_are_not_finite_stay_empty() -> None:
    losses = np.array([[1.0, 2.0, 3.0], [2.0, np.inf, 4.0], [3.0, 4.0, 5.0]])
    chart = draw_plane(losses, [0, 1, 2], [0, 1, 2], levels=[2.5])
    assert len(rows(chart, "x", "loss")) == 8
    assert not any("level" in table[0] for table in tables(chart.to_dict()))


def test_the_information_plane_holds_every_layer_at_every_step() -> None:
    inputs, targets = np.array([[1.0, 2.0], [3.0, np.nan]]), np.array([[0.1, 0.2], [0.3, 0.4]])
    table = rows(draw_information(inputs, targets, steps=[0, 5], layers=["a", "b"]), "input", "target", "layer")
    assert [(row["layer"], row["step"], row["input"], row["target"]) for row in table] == [
        ("a", 0.0, 1.0, 0.1), ("a", 5.0, 3.0, 0.3), ("b", 0.0, 2.0, 0.2),
    ]  # fmt: skip


def test_readings_of_the_measurement_become_its_arrays() -> None:
    instrument = InformationPlane(bins=Fixed(8), layers=2)
    draw = torch.Generator().manual_seed(0)
    data = torch.randn(40, 5, generator=draw), torch.randint(3, (40,), generator=draw)
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3)
    )
    reading, names = cb.measure(instrument, model, data), [instrument.names(layer) for layer in (1, 2)]
    inputs, targets = information_along([reading, reading], names)
    assert inputs.tolist() == [[reading[name] for name, _ in names]] * 2
    assert targets.tolist() == [[reading[name] for _, name in names]] * 2
    with pytest.raises(ValueError, match="reading 1 has no"):
        information_along([reading, {}], names)


def test_planes_hold_the_principal_coordinates_and_state_their_area_rate() -> None:
    path = turning()
    chart = draw_planes(path, pairs=((1, 2), (2, 3)))
    expected = principal_coordinates(path, 3)
    found = [table for table in tables(chart.to_dict()) if "time" in table[0]]
    assert column(found[0], "x") == expected[:, 0].tolist()
    assert column(found[0], "y") == expected[:, 1].tolist()
    rates, text = area_rates(expected), chart.to_json()
    assert f"area rate {rates[0, 1]:+.3g} per step" in text
    assert f"area rate {rates[1, 2]:+.3g} per step" in text


def test_long_trajectories_are_thinned_for_the_eye_alone() -> None:
    path = turning(5000)
    chart = draw_planes(path, pairs=((1, 2),))
    times = column(rows(chart, "x", "y", "time"), "time")
    assert (times[0], times[-1], len(times)) == (0, 4999, 2000)
    assert f"area rate {area_rates(principal_coordinates(path, 2))[0, 1]:+.3g} per step" in chart.to_json()


def test_autocorrelations_stand_before_their_band() -> None:
    path = turning()[:, :2]
    chart = draw_autocorrelation(path, most_lag=4, names=["a", "b"])
    found, band = increment_autocorrelation(path, 4), white_band(399, level=0.99)
    assert column(rows(chart, "lag", "value"), "value") == [*found[:, 0].tolist(), *found[:, 1].tolist()]
    assert rows(chart, "lag", "low") == [{"lag": at, "low": -band, "high": band} for at in (1, 4)]


def short_metric() -> Line:
    line = along()
    object.__setattr__(
        line, "metrics", {"accuracy": np.ones(3)}
    )  # jaxtyping, on in tests alone, would refuse it before
    return line


SQUARE = np.ones((2, 2))
BAD = {
    "two rows of eigenvalues": (lambda: draw_eigenvalues(SQUARE), "Give one row"),
    "eigenvalues that are 0": (lambda: draw_eigenvalues(np.zeros(3)), "not all 0"),
    "eigenvalues that are lost": (lambda: draw_eigenvalues(np.array([1.0, np.nan])), "1 not finite"),
    "a null that is lost": (lambda: draw_eigenvalues(np.ones(2), null=np.array([np.inf])), "null"),
    "a floor above all": (lambda: draw_eigenvalues(np.ones(2), floor=1.0), "floor"),
    "no density": (lambda: draw_density(Density(np.ones(2), np.zeros(2), np.zeros(2), 0.1)), "above 0"),
    "no finite loss": (lambda: draw_line(along(np.full(7, np.nan))), "no loss is finite"),
    "a short metric": (lambda: draw_line(short_metric()), "'accuracy' has shape"),
    "a plane of another shape": (lambda: draw_plane(SQUARE, [0, 1, 2], [0, 1]), "2, 2"),
    "positions that fall": (lambda: draw_plane(SQUARE, [1, 0], [0, 1]), "must increase"),
    "a plane without losses": (lambda: draw_plane(-SQUARE, [0, 1], [0, 1]), "no loss"),
    "a level of 0": (lambda: draw_plane(SQUARE, [0, 1], [0, 1], levels=[0.0]), "levels"),
    "too few steps": (lambda: draw_information(SQUARE, SQUARE, steps=[1]), "1 steps"),
    "other targets": (lambda: draw_information(SQUARE, np.ones((2, 3)), steps=[1, 2]), "shapes"),
    "steps that fall": (lambda: draw_information(SQUARE, SQUARE, steps=[2, 1]), "must increase"),
    "no place": (lambda: draw_information(SQUARE * np.nan, SQUARE, steps=[1, 2]), "no place"),
    "no pairs": (lambda: draw_planes(turning(), pairs=()), "pairs"),
    "one component twice": (lambda: draw_planes(turning(), pairs=((1, 1),)), "two components"),
    "components that are not there": (lambda: draw_planes(turning(), pairs=((1, 5),)), "has 1 to 4"),
    "too few names": (lambda: draw_autocorrelation(turning(), most_lag=2, names=["a"]), "1 names for 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_drawn_is_refused(name: str) -> None:
    draw, said = BAD[name]
    with pytest.raises(ValueError, match=said):
        draw()
