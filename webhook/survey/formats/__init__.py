"""
A survey, shown: as a table, as JSON, as CSV, or as one page of HTML.
"""
