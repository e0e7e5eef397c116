"""Session, folder, console, processes, signals and logging of a run."""
