"""Pictures and widgets: data, renderer and widget apart.

For notebooks: functions that take a `Workbench` and return a view.

>>> from workbench import views
>>> views.graph(wb)  # doctest: +SKIP
>>> views.engine(summary)  # doctest: +SKIP
>>> views.tensor_table(wb)  # doctest: +SKIP
>>> views.distribution(wb, "conv1")  # doctest: +SKIP
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
