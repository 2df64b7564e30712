"""What a run needs besides its computation: directory, lock, multi-host support, watchdog."""
