"""Foreign files are parsed in a process of their own: capped, confined, replaceable.

``call`` runs a function of ours in it. A warm parent process of that process has everything
imported and forks once a request, so a request costs milliseconds, cannot see what another one
read, and can take down nothing but itself.
"""

from synthct.data.readers.process.pool import call

__all__ = ["call"]
