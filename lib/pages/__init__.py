"""The pages: executed notebooks as HTML, what they cite, and the start page of JupyterLab."""
