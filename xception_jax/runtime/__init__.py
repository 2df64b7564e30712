"""What a run needs besides its arithmetic: its directory and lock, its peers, its watchdog."""
