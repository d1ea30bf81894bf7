"""Measures hasty beside a bare Serve application, in one run on one machine."""
