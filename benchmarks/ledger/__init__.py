"""The ledger: results as data in a repository, what papers say and what was measured here, each with a hash."""
