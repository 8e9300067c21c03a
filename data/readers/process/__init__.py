"""Foreign files are parsed in a process of their own: limited in memory, time and files.

``call`` runs one of our functions in it. A warm parent process has all packages imported and forks
for each request, so a request costs milliseconds, does not see the data of another one, and a
crash ends nothing but itself.
"""

from synthct.data.readers.process.pool import call

__all__ = ["call"]
