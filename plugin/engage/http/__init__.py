"""HTTP to Engage: transport, the guard over calls of one API key, and errors from answers.

Operations and their data are not known here.
"""
