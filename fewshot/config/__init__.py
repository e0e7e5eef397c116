"""Keys with meaning, choices and minimum, and the sections of a run."""
