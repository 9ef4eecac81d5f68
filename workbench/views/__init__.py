"""Pictures and widgets: data, renderer and widget apart."""
