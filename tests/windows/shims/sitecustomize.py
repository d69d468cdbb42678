"""Read by Python at its start: `platform` asks Windows' management service, which Wine 8 lacks, if there is `_wmi`."""

import sys

sys.modules["_wmi"] = None  # type: ignore[assignment]
