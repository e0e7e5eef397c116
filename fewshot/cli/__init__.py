"""One program for all commands: run configurations on one base, checks, help, main."""
