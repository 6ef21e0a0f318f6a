"""From Parquet to a page: `python -m seqgrid.report FOLDER`. It formats; it never computes."""
