"""Where things lie."""

import os
from pathlib import Path

LAB = Path(__file__).resolve().parent.parent
REPO = LAB.parent
BUILD = REPO / ".build" / "lab"
RUN = Path(os.environ.get("LAB_RUN", "/run/ipsec-lab"))
NETNS = Path("/run/netns")
DEFAULT_FLEET = REPO / "pillar" / "ipsec.sls"
