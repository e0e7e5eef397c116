"""Masks as PNG files, and results in the layouts of servers and toolkits."""
