"""Breaks a running hasty under load, then checks what it promised against what it wrote."""
