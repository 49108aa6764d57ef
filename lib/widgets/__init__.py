"""Widgets for JupyterLab, where a hand beats a parameter; nothing appears where nobody watches."""
