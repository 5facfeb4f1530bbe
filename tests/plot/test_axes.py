"""Where pictures are drawn, and with what."""

import subprocess
import sys

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pictures import CHROMOSOME, HEIGHT, PAIRS, POSITION

from lmmlite_jax.plot import (
    plot_eqtl_map,
    plot_hsq_estimates,
    plot_hsq_histogram,
    plot_lod,
    plot_manhattan,
    plot_qq,
)


def test_plots_are_drawn_where_asked():
    figure = Figure()
    FigureCanvasAgg(figure)
    panels = figure.subplots(5)
    assert plot_manhattan(HEIGHT, POSITION, CHROMOSOME, ax=panels[0]) is panels[0]
    assert plot_qq(HEIGHT, ax=panels[1]) is panels[1]
    lod = {"a": HEIGHT, "b": HEIGHT}
    assert plot_lod(lod, POSITION, CHROMOSOME, ax=panels[2]) is panels[2]
    assert plot_eqtl_map(**PAIRS, ax=panels[3]) is panels[3]
    assert plot_hsq_histogram([0.2], ax=panels[4]) is panels[4]
    figure.canvas.draw()
    assert all(panel.has_data() for panel in panels)
    assert len(figure.axes) == 5


def test_pictures_leave_pyplot_alone():
    code = "from lmmlite_jax.plot import *; import sys; plot_hsq_estimates([0.1], [0.2]); "
    code += "plot_qq([0.1, 0.2]); plot_eqtl_map([1, 2], [1, 2], [1, 2], [1, 2], [5, 6]); "
    code += "sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("plot", "values"), [(plot_qq, [[0.1, 0.2]]), (plot_hsq_estimates, [[0.1], [0.2]])]
)
def test_without_matplotlib_the_extra_to_install_is_named(monkeypatch, plot, values):
    for module in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"matplotlib is needed .*'lmmlite-jax\[plot\]'"):
        plot(*values)
