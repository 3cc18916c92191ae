"""nginx in front of the studio: its configuration, which lane it sends people to, its certificate.

The studio writes three files and nginx reads them: the site (`site.py`, from `deploy/nginx/`), `lanes.conf`
(`lanes.py`, changed by `apply` and by nobody else) and a few lines for nginx's main context. Places are `places.py`.
"""

from qwenstudio.proxy.errors import ProxyError
from qwenstudio.proxy.lanes import LanesState, read_state, render_lanes
from qwenstudio.proxy.site import render_site
from qwenstudio.proxy.traffic import apply

__all__ = ["LanesState", "ProxyError", "apply", "read_state", "render_lanes", "render_site"]
