"""Calls to addresses that clients named: which are made, and how nobody is led elsewhere by them."""
