"""What is measured: official metrics, named protocols, reports, comparisons and mask files."""
