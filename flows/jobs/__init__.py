"""Jobs that run unattended: scheduled runs and studies, and the watcher of an inbox."""
