"""The report of a run as one HTML page: read from its folder (`content`), drawn again (`drawn`), written (`page`)."""
