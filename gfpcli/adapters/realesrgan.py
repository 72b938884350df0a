"""Real-ESRGAN's networks."""

from __future__ import annotations

from gfpcli.adapters._compat import prepare_basicsr

prepare_basicsr()

from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: E402
from basicsr.archs.srvgg_arch import SRVGGNetCompact  # noqa: E402

__all__ = ["RRDBNet", "SRVGGNetCompact"]
