"""Pictures of minima and trajectories for a paper: from arrays and the instruments' results to a chart, and to a file.

    from critbatch.pictures import draw_line, save

    save(draw_line(found), "line.pdf")

Where `critbatch.plots` draws a stored sweep, these draw one model, which may be anybody's. docs/minima.md shows each.
"""

from .information_plane import draw_information as draw_information
from .information_plane import information_along as information_along
from .lines import draw_line as draw_line
from .plane import draw_plane as draw_plane
from .saving import save as save
from .spectrum import draw_density as draw_density
from .spectrum import draw_eigenvalues as draw_eigenvalues
from .trajectory import draw_autocorrelation as draw_autocorrelation
from .trajectory import draw_planes as draw_planes
