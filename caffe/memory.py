"""How much memory there is, so that what cannot be held is refused before it is allocated."""
from __future__ import annotations

import os
import sys
from pathlib import Path

try:
    import resource
except ImportError:   # no such limits on Windows
    resource = None   # type: ignore[assignment]

_CGROUPS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"))


def total() -> int:
    """Bytes that this process may have at most: the machine's, its container's or its own limit (ulimit -v)."""
    limits = [_number(Path(most)) for most, _ in _CGROUPS]
    return min(_sysconf("SC_PHYS_PAGES"), _address_space(), *(limit for limit in limits if limit is not None))


def available() -> int:
    """Bytes that this process can get now without pushing anything out; at least 0."""
    left = [_sysconf("SC_PHYS_PAGES")]
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                left.append(int(line.split()[1]) * 1024)
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        left.append(_address_space() - used * os.sysconf("SC_PAGE_SIZE"))
    except OSError:   # not Linux: what the machine has
        pass
    for most, now in _CGROUPS:
        limit, in_use = _number(Path(most)), _number(Path(now))
        if limit is not None and in_use is not None:
            left.append(limit - in_use)
    return max(0, min(left))


def _sysconf(pages: str) -> int:
    try:
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):   # the system does not say
        return sys.maxsize


def _address_space() -> int:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource is not None else -1
    return sys.maxsize if limit < 0 else limit


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):   # no such cgroup, or "max"
        return None
