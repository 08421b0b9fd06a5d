"""Multicast groups of rtnetlink, which carry notifications of changes.

Source: enum rtnetlink_groups in include/uapi/linux/rtnetlink.h.
"""

from __future__ import annotations

RTNLGRP_LINK = 1
RTNLGRP_TC = 4
RTNLGRP_IPV4_IFADDR = 5
RTNLGRP_IPV4_ROUTE = 7
RTNLGRP_IPV6_IFADDR = 9
RTNLGRP_IPV6_ROUTE = 11
RTNLGRP_NSID = 28

ALWAYS = (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_NSID)
OF_QUEUES = (RTNLGRP_TC,)
OF_ROUTES = (RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE)
