"""Learning from structures: networks by name, trained, kept and compared by one command."""
