"""Analysis of runs: records, figures, charts, a live view and backtests."""
