"""The report: what was measured as tables, curves and pictures, in one page that opens offline."""
